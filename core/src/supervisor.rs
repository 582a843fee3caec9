use std::{future::Future, time::Duration};

use ratebus_sdk::{AttemptBudget, Backoff, Clock, Error, ErrorKind, Health, HealthState, Retry};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::panics;

/// A run that lasted this long was healthy: the next failure is answered as if it were the first.
const HEALTHY: Duration = Duration::from_mins(1);
/// So many faults of a plugin's own in so long disable it.
const CRASHES: usize = 3;
const CRASH_WINDOW: Duration = Duration::from_mins(10);

/// Runs a plugin again and again as its errors ask for it, until it finishes, is cancelled, or has crashed too often.
///
/// What the outside world causes (no connection, refused credentials, silence) is retried for ever, with backoff. A
/// panic, an internal error or a broken protocol is the plugin's own fault and counts against its crash budget.
///
/// `start` builds one run and its future; it is spawned, so that a panic ends only that run.
pub(crate) async fn supervise<F, R>(health: Health, cancel: CancellationToken, mut start: F)
where
    F: FnMut() -> R,
    R: Future<Output = Result<(), Error>> + Send + 'static,
{
    let plugin = health.name().to_owned();
    let mut backoff = Backoff::default();
    let mut crashes = AttemptBudget::new(CRASHES - 1, CRASH_WINDOW);
    loop {
        let started = Clock.now();
        let run = tokio::spawn(start());
        let abort = run.abort_handle();
        let _guard = AbortOnDrop(abort);
        let error = match run.await {
            Ok(Ok(())) => return health.set(HealthState::Finished),
            Ok(Err(error)) => error,
            Err(error) => panicked(error),
        };
        if cancel.is_cancelled() {
            tracing::warn!(plugin, %error, "plugin stopped with an error");
            return;
        }
        let kind = error.kind();
        metrics::counter!("ratebus_plugin_failures_total", "plugin" => plugin.clone(), "kind" => kind.as_str())
            .increment(1);
        if Clock.now().saturating_duration_since(started) >= HEALTHY {
            backoff.succeeded();
        }
        let own_fault = matches!(kind, ErrorKind::Internal | ErrorKind::Protocol);
        let exhausted = own_fault && crashes.take(Clock.now()).is_err();
        let delay = match error.retry() {
            Retry::Never => None,
            _ if exhausted => None,
            // The first delay is none. What fails as soon as it runs must not spin, whatever time it names.
            Retry::Now | Retry::Backoff => Some(backoff.next_delay()),
            Retry::After(delay) => Some(backoff.next_delay().max(delay)),
        };
        let Some(delay) = delay else {
            tracing::error!(plugin, %error, "plugin failed and is given up; everything else goes on");
            return health.set(HealthState::Failed(error.to_string()));
        };
        tracing::warn!(plugin, %error, retry_in = ?delay, "plugin failed and will be started again");
        health.not_ready(error.to_string());
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Ends a run that outlives its supervisor.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(error: JoinError) -> Error {
    let message = match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panics::words(&*panic)),
        Err(_) => "was aborted".to_owned(),
    };
    Error::new(ErrorKind::Internal, message)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Runs `outcome(n)` for the n-th run under supervision; how many runs there were, and the last state.
    async fn supervised(outcome: impl Fn(usize) -> Result<(), Error> + Send + Sync + 'static) -> (usize, HealthState) {
        let (health, runs, outcome) = (Health::new("test"), Arc::new(AtomicUsize::new(0)), Arc::new(outcome));
        let (watched, counted) = (health.clone(), runs.clone());
        supervise(watched, CancellationToken::new(), move || {
            let (run, outcome) = (counted.fetch_add(1, Ordering::SeqCst), outcome.clone());
            async move { outcome(run) }
        })
        .await;
        (runs.load(Ordering::SeqCst), health.state())
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_crash_disables() {
        let (runs, state) = supervised(|_| panic!("boom")).await;
        assert_eq!((runs, state), (3, HealthState::Failed("panicked: boom".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_world_is_retried_until_it_is_well() {
        let outcome = |run| if run < 50 { Err(Error::new(ErrorKind::Connect, "nobody there")) } else { Ok(()) };
        assert_eq!(supervised(outcome).await, (51, HealthState::Finished));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_to_run_again_at_once_or_soon_does_not_spin() {
        for retry in [Retry::Now, Retry::After(Duration::from_millis(1))] {
            let started = Clock.now();
            let outcome = move |run| match run {
                0..50 => Err(Error::new(ErrorKind::Connect, "replaced").with_retry(retry)),
                _ => Ok(()),
            };
            assert_eq!(supervised(outcome).await, (51, HealthState::Finished));
            assert!(Clock.now() - started > Duration::from_mins(1), "{retry:?}: it spins");
        }
        let started = Clock.now();
        let once =
            |run| if run == 0 { Err(Error::new(ErrorKind::Connect, "no").with_retry(Retry::Now)) } else { Ok(()) };
        assert_eq!(supervised(once).await, (2, HealthState::Finished));
        assert!(Clock.now() - started < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_config_error_is_final() {
        let (runs, state) = supervised(|_| Err(Error::new(ErrorKind::Config, "no"))).await;
        assert_eq!((runs, state), (1, HealthState::Failed("no".to_owned())));
    }
}
