use std::time::{Duration, Instant};

/// When something is tried again that does not work: at once, a minute after that, and then each time twice as late, up to
/// an hour.
pub(super) struct Again {
    due: Option<Instant>,
    wait: Duration,
}

impl Default for Again {
    fn default() -> Self {
        Self { due: None, wait: Duration::from_mins(1) }
    }
}

impl Again {
    const LONGEST: Duration = Duration::from_hours(1);

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// It was tried, and did not work.
    pub(super) fn later(&mut self, now: Instant) {
        self.due = Some(now + self.wait);
        self.wait = (self.wait * 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_soon_and_then_ever_later() {
        let mut now = Instant::now();
        let mut again = Again::default();
        assert!(again.is_due(now));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            again.later(now);
            let wait = Duration::from_mins(minutes);
            assert!(!again.is_due(now + wait * 59 / 60) && again.is_due(now + wait), "{minutes}");
            now += wait;
        }
    }
}
