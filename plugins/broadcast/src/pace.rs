use std::time::{Duration, Instant};

/// The most that `max_rate` may be, in writes a second: above it the wheel's ticks would be all there is to it.
pub(crate) const MAX_RATE: u32 = 1000;

/// How often one client is sent what has changed. What comes after a while without changes goes out at once.
#[derive(Debug)]
pub(crate) struct Pace {
    /// So many writes of quotes a second at most; 0: as many as there are.
    max_rate: u32,
    /// Not before this.
    opens_at: Instant,
    /// Something may be due then.
    waits: bool,
}

impl Pace {
    /// The lower of two limits holds, each in writes a second; 0 is none.
    pub(crate) fn new(limits: [u32; 2], now: Instant) -> Self {
        Self { max_rate: lower(limits), opens_at: now, waits: false }
    }

    /// From the next write on.
    pub(crate) fn change(&mut self, limits: [u32; 2], now: Instant) {
        *self = Self { opens_at: self.opens_at.min(now + interval(lower(limits))), ..Self::new(limits, now) };
    }

    pub(crate) fn max_rate(&self) -> u32 {
        self.max_rate
    }

    /// Whether what is sent may have waited for its turn: how long it took says nothing of us.
    pub(crate) fn is_limited(&self) -> bool {
        self.max_rate > 0
    }

    /// Whether quotes may go out now. If not, [`Pace::due`] says when.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        self.waits = self.max_rate > 0 && now < self.opens_at;
        !self.waits
    }

    /// Quotes have gone out.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.opens_at = now + interval(self.max_rate);
    }

    /// When what was not allowed will be.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waits.then_some(self.opens_at)
    }
}

fn lower(limits: [u32; 2]) -> u32 {
    limits.into_iter().filter(|&limit| limit > 0).min().unwrap_or(0)
}

fn interval(max_rate: u32) -> Duration {
    Duration::from_secs(1).checked_div(max_rate).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_goes_out_at_once_and_the_next_after_the_interval() {
        let start = Instant::now();
        let mut pace = Pace::new([0, 10], start);
        assert!(pace.allows(start));
        pace.sent(start);
        assert!(!pace.allows(start + 99 * MS));
        assert_eq!(pace.due(), Some(start + 100 * MS));
        assert!(pace.allows(start + 100 * MS));
        assert_eq!(pace.due(), None);
        pace.sent(start + 5000 * MS);
        assert!(pace.allows(start + 5100 * MS));
    }

    #[test]
    fn the_lower_limit_holds_and_zero_is_none() {
        let start = Instant::now();
        for (limits, max_rate) in [([0, 0], 0), ([0, 5], 5), ([5, 0], 5), ([7, 5], 5), ([5, 7], 5)] {
            assert_eq!(Pace::new(limits, start).max_rate(), max_rate, "{limits:?}");
        }
        let mut pace = Pace::new([1, 0], start);
        pace.sent(start);
        assert!(!pace.allows(start + 500 * MS));
        // Who may have more has not to wait for as long as before.
        pace.change([10, 0], start + 500 * MS);
        assert!(!pace.allows(start + 599 * MS) && pace.allows(start + 600 * MS));
        pace.change([0, 0], start);
        assert!(pace.allows(start));
    }
}
