use std::time::{Duration, Instant};

/// Lets one line a minute into the log, for what may happen with every message. The counters have the number.
#[derive(Debug, Clone, Default)]
pub struct LogLimit {
    last: Option<Instant>,
}

impl LogLimit {
    const QUIET: Duration = Duration::from_mins(1);

    /// Whether a line may be written now; if so, none may for a minute.
    pub fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.last.is_none_or(|last| now.saturating_duration_since(last) >= Self::QUIET);
        if allowed {
            self.last = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let start = Instant::now();
        let mut limit = LogLimit::default();
        let allowed = [0, 1, 59, 60, 61, 120].map(|second| limit.allows(start + Duration::from_secs(second)));
        assert_eq!(allowed, [true, false, false, true, false, true]);
    }
}
