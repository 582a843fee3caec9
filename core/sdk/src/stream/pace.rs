use std::time::{Duration, Instant};

use crate::{AttemptBudget, Backoff, Retry};

/// When to connect again: at once after a first loss, then ever later, and never so often that the exchange bans the
/// address.
pub(crate) struct Pace {
    backoff: Backoff,
    budget: AttemptBudget,
    /// Since when there has been no data.
    down_since: Option<Instant>,
}

impl Pace {
    /// Below what exchanges allow an address (Kraken some 150 in 10 minutes, Binance 300 in 5); other programs may share
    /// ours.
    const ATTEMPTS: usize = 100;
    const WINDOW: Duration = Duration::from_mins(10);
    /// Data for so long makes a connection a good one, and its loss a first one.
    const PROVEN: Duration = Duration::from_mins(1);
    /// No more than one attempt in so long after maintenance and long downtimes, as Kraken asks for.
    const CONSIDERATE: Duration = Duration::from_secs(5);
    const LONG_DOWN: Duration = Duration::from_mins(1);
    /// The longest wait that an answer can impose on us: Kraken's ban is 10 minutes.
    const LONGEST_IMPOSED: Duration = Duration::from_mins(15);

    pub(crate) fn new(now: Instant) -> Self {
        let mut budget = AttemptBudget::new(Self::ATTEMPTS, Self::WINDOW);
        // The attempt that the caller is about to make; a new budget has room for it.
        let _ = budget.take(now);
        Self { backoff: Backoff::default(), budget, down_since: None }
    }

    /// An attempt failed: how long to wait before the next one.
    pub(crate) fn failed(&mut self, retry: Retry, now: Instant) -> Duration {
        let imposed = match retry {
            Retry::After(wait) => wait.min(Self::LONGEST_IMPOSED),
            _ => Duration::ZERO,
        };
        self.next(imposed, now)
    }

    /// A connection ended that had brought data for `healthy`: how long to wait before the next one.
    pub(crate) fn ended(&mut self, healthy: Duration, maintenance: bool, now: Instant) -> Duration {
        if healthy > Duration::ZERO {
            self.down_since = None;
        }
        if healthy >= Self::PROVEN {
            self.backoff.succeeded();
        }
        self.next(if maintenance { Self::CONSIDERATE } else { Duration::ZERO }, now)
    }

    fn next(&mut self, least: Duration, now: Instant) -> Duration {
        let down = now.saturating_duration_since(*self.down_since.get_or_insert(now));
        let mut wait = self.backoff.next_delay().max(least);
        if down > Self::LONG_DOWN {
            wait = wait.max(Self::CONSIDERATE);
        }
        while let Err(longer) = self.budget.take(now + wait) {
            wait += longer;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_retry_is_immediate_and_a_proven_connection_earns_it_again() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.ended(SECOND, false, now), Duration::ZERO);
        for _ in 0..5 {
            pace.failed(Retry::Backoff, now);
        }
        assert_eq!(pace.ended(Duration::from_mins(1), false, now), Duration::ZERO);
    }

    #[test]
    fn maintenance_long_downtime_and_the_exchange_itself_slow_us_down() {
        let now = Instant::now();
        assert!(Pace::new(now).ended(SECOND, true, now) >= 5 * SECOND);
        assert!(Pace::new(now).failed(Retry::After(60 * SECOND), now) >= 60 * SECOND);
        assert!(Pace::new(now).failed(Retry::After(Duration::MAX), now) <= Pace::LONGEST_IMPOSED);
        let mut pace = Pace::new(now);
        pace.failed(Retry::Backoff, now);
        assert!(pace.failed(Retry::Backoff, now + 90 * SECOND) >= 5 * SECOND);
    }

    #[test]
    fn no_window_sees_more_attempts_than_the_budget() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut attempts = vec![start];
        for _ in 0..1000 {
            let now = attempts[attempts.len() - 1];
            // Each connection is lost at once and yet counts as a good one: only the budget is left to slow us down.
            attempts.push(now + pace.ended(Pace::PROVEN, false, now));
        }
        for window in attempts.windows(Pace::ATTEMPTS + 1) {
            assert!(window[Pace::ATTEMPTS] - window[0] >= Pace::WINDOW);
        }
    }
}
