use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long to wait before trying again: the first retry at once, then up to 1 s, 2 s, 4 s … 30 s, each drawn at random
/// between zero and that ("full jitter"), so that many clients do not return in step.
///
/// Call [`Backoff::succeeded`] when a session has proved itself; until then delays keep growing.
#[derive(Debug, Clone)]
pub struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(Duration::from_secs(30))
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);

    /// With delays of at most `longest` in place of 30 s: for what is our own and can bear it.
    pub const fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        up_to(ceiling)
    }

    /// The longest that [`Backoff::next_delay`] may answer now.
    pub fn ceiling(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => Self::FIRST.saturating_mul(1 << doublings.min(16)).min(self.longest),
        }
    }

    /// The last session was healthy for long enough: the next failure starts over.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// A random span from zero to `longest`.
pub(crate) fn up_to(longest: Duration) -> Duration {
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random() % micros.saturating_add(1))
}

/// A random number from the operating system; zero when it has none, which only removes the jitter.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// At most so many attempts in any window of so long, whatever else happens: exchanges ban addresses that come too often
/// (Kraken: about 150 connections in 10 minutes).
#[derive(Debug, Clone)]
pub struct AttemptBudget {
    limit: usize,
    window: Duration,
    /// When the attempts inside the window were made, oldest first; at most `limit` long.
    made: VecDeque<Instant>,
}

impl AttemptBudget {
    /// `limit` attempts (at least one) per `window`.
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit: limit.max(1), window, made: VecDeque::new() }
    }

    /// Takes one attempt, or says how long to wait for one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        while self.made.front().is_some_and(|&made| now.saturating_duration_since(made) >= self.window) {
            self.made.pop_front();
        }
        match self.made.front() {
            Some(&oldest) if self.made.len() >= self.limit => {
                Err(self.window.saturating_sub(now.saturating_duration_since(oldest)))
            }
            _ => {
                self.made.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> = (0..8)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.next_delay() <= ceiling);
                ceiling.as_secs()
            })
            .collect();
        assert_eq!(ceilings, [0, 1, 2, 4, 8, 16, 30, 30]);
        backoff.succeeded();
        assert_eq!(backoff.next_delay(), Duration::ZERO);
    }

    #[test]
    fn the_budget_holds_in_every_window() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut budget = AttemptBudget::new(2, Duration::from_secs(10));
        assert_eq!(budget.take(at(0)), Ok(()));
        assert_eq!(budget.take(at(3)), Ok(()));
        assert_eq!(budget.take(at(4)), Err(Duration::from_secs(6)));
        assert_eq!(budget.take(at(10)), Ok(()));
        assert_eq!(budget.take(at(12)), Err(Duration::from_secs(1)));
    }
}
