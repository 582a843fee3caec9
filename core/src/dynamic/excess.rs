//! What an instance says that is not taken: counted, and told of once a minute.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ratebus_model::SourceName;
use ratebus_sdk::LogLimit;

/// How many lines of an instance the log takes in a second.
const LINES: u32 = 20;

/// What is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Excess {
    /// Events, with no room for them.
    Full,
    /// What cannot be what it says.
    Invalid,
    /// Lines of the log.
    Log,
    /// Changes of its health: not logged, and taken nevertheless.
    Health,
    /// Names of counters and gauges.
    Names,
}

impl Excess {
    /// As a metric label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::Log => "log",
            Self::Health => "health",
            Self::Names => "names",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Full => "says events faster than they are taken: it sends them again, or loses them",
            Self::Invalid => "says what makes no sense",
            Self::Log => "says more lines than are logged",
            Self::Health => "changes its health more often than is logged",
            Self::Names => "measures under more names than are kept",
        }
    }
}

/// How much one instance may still say.
#[derive(Debug)]
pub(super) struct Allowance {
    name: SourceName,
    lines: Mutex<Lines>,
    told: Mutex<BTreeMap<Excess, LogLimit>>,
}

impl Allowance {
    pub(super) fn new(name: SourceName) -> Self {
        Self { name, lines: Mutex::default(), told: Mutex::default() }
    }

    /// Whether the log takes one more line, which is counted as `what` if it does not.
    pub(super) fn has_a_line(&self, what: Excess) -> bool {
        let allowed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        if !allowed {
            self.refuse(what, 1);
        }
        allowed
    }

    /// Counts `number` of what is not taken.
    pub(super) fn refuse(&self, what: Excess, number: usize) {
        let (plugin, reason) = (self.name.as_str(), what.as_str());
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        metrics::counter!("ratebus_library_refused_total", "plugin" => plugin.to_owned(), "reason" => reason)
            .increment(number);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.entry(what).or_default().allows(Instant::now()) {
            tracing::warn!(plugin, reason, "{plugin} {}; ratebus_library_refused_total counts them", what.words());
        }
    }
}

/// The lines of the current second.
#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    number: u32,
}

impl Lines {
    fn allow(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            *self = Self { since: Some(now), number: 0 };
        }
        self.number = self.number.saturating_add(1);
        self.number <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_in_a_second_and_no_more() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        assert_eq!((0..2 * LINES).filter(|_| lines.allow(start)).count(), LINES as usize);
        assert!(lines.allow(start + Duration::from_secs(1)));
    }
}
