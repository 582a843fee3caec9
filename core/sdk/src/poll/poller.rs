use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use ratebus_model::{FoldLimits, Pair};
use tokio::time::sleep;

use super::{Client, Feed, pace::Pace};
use crate::{Context, Error, ErrorKind, Retry};

/// An exchange that is asked again and again.
#[async_trait]
pub trait Exchange: Send {
    /// Asks for everything that is due now, and tells the feed what it hears.
    ///
    /// # Errors
    /// Why the round failed; what was told before stands. Its [`Retry`] says when the next one is: `Backoff` after a
    /// jittered, growing wait, `After` not before that, `Never` ends the source. Dropping the future must do no harm.
    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error>;
}

/// Makes rounds until it is told to stop.
pub struct Poller {
    /// Whom the rounds ask, for people.
    pub name: Arc<str>,
    /// What they ask with.
    pub client: Client,
    /// How long after the start of a round the next one starts.
    pub interval: Duration,
    /// Of what.
    pub pairs: Vec<Pair>,
    /// What every rate is held to.
    pub limits: FoldLimits,
}

impl Poller {
    /// How often the health is looked at between rounds: rates get old meanwhile.
    const LOOK: Duration = Duration::from_secs(5);

    /// Runs until the plugin is asked to stop.
    ///
    /// # Errors
    /// What a round says can never get better.
    pub async fn run(self, mut exchange: impl Exchange, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        match stop.run_until_cancelled(Box::pin(self.rounds(&mut exchange, ctx))).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn rounds(self, exchange: &mut impl Exchange, ctx: Context) -> Error {
        let Self { name, client, interval, pairs, limits } = self;
        tracing::info!(every = ?interval, "asking {name}");
        let clock = ctx.clock();
        let mut feed = Feed::new(ctx.clone(), client, pairs, limits);
        let mut pace = Pace::new(interval);
        loop {
            let started = clock.now();
            let outcome = exchange.round(&mut feed).await;
            feed.connected(outcome.is_ok());
            let (mut wait, failure) = match outcome {
                Ok(()) => (pace.good(clock.now().saturating_duration_since(started)), None),
                Err(error) if error.retry() == Retry::Never => return error,
                Err(error) => {
                    let wait = pace.failed(error.retry(), error.kind() == ErrorKind::RateLimited);
                    tracing::warn!(plugin = %ctx.name(), kind = error.kind().as_str(), next_attempt_in = ?wait, "asking {name}: {error}");
                    (wait, Some(format!("asking {name}: {error}; it keeps trying")))
                }
            };
            loop {
                feed.report(failure.as_deref());
                let nap = wait.min(Self::LOOK);
                sleep(nap).await;
                wait -= nap;
                if wait.is_zero() {
                    break;
                }
            }
        }
    }
}
