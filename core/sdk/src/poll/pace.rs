use std::time::Duration;

use crate::{Backoff, Retry, backoff};

/// When to ask again.
///
/// The first round is at once, since people wait for it. The second comes at a random moment, so that instances which
/// started together do not go on asking together; from then on one follows the other by the interval.
pub(super) struct Pace {
    interval: Duration,
    backoff: Backoff,
    in_step: bool,
}

impl Pace {
    /// The longest wait before what failed is tried again, unless the interval is longer or the exchange says otherwise.
    const LONGEST: Duration = Duration::from_secs(30);
    /// After "too many requests" without another word the next one is not before this.
    const CONSIDERATE: Duration = Duration::from_secs(5);

    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, backoff: Backoff::up_to(Self::LONGEST.max(interval)), in_step: true }
    }

    /// A round went well that took `took`: how long to wait before the next one.
    pub(super) fn good(&mut self, took: Duration) -> Duration {
        self.backoff.succeeded();
        let early = if std::mem::take(&mut self.in_step) { backoff::up_to(self.interval / 2) } else { Duration::ZERO };
        self.interval.saturating_sub(early).saturating_sub(took)
    }

    /// A round failed: how long to wait before the next one. What the exchange asks for is kept, and a little more, since
    /// others were asked the same.
    pub(super) fn failed(&mut self, retry: Retry, limited: bool) -> Duration {
        let wait = self.backoff.next_delay();
        match retry {
            Retry::After(imposed) => wait.max(imposed + backoff::up_to(imposed / 10)),
            _ if limited => wait.max(Self::CONSIDERATE + backoff::up_to(Self::CONSIDERATE)),
            _ => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rounds_keep_the_interval_and_instances_do_not_keep_step() {
        let interval = 60 * SECOND;
        let second = || Pace::new(interval).good(Duration::ZERO);
        let waits: Vec<Duration> = (0..50).map(|_| second()).collect();
        assert!(waits.iter().all(|&wait| wait >= interval / 2 && wait <= interval));
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
        let mut pace = Pace::new(interval);
        pace.good(Duration::ZERO);
        assert_eq!(pace.good(3 * SECOND), 57 * SECOND);
        assert_eq!(pace.good(90 * SECOND), Duration::ZERO);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_as_long_as_they_are_asked_to() {
        let mut pace = Pace::new(SECOND);
        assert_eq!(pace.failed(Retry::Backoff, false), Duration::ZERO);
        for _ in 0..20 {
            assert!(pace.failed(Retry::Backoff, false) <= Pace::LONGEST);
        }
        let asked = pace.failed(Retry::After(60 * SECOND), true);
        assert!(asked >= 60 * SECOND && asked <= 66 * SECOND, "{asked:?}");
        pace.good(Duration::ZERO);
        assert!(pace.failed(Retry::Backoff, true) >= Pace::CONSIDERATE);
    }
}
