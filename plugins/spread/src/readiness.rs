use std::time::{Duration, Instant};

use ratebus_sdk::{Health, HealthState};

use crate::desk::Desk;

/// How many pairs a reason names.
const NAMED: usize = 5;

/// How often a reason may change while readiness does not: after a reconnect hundreds of pairs return one by one.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the plugin's health true to its quotes: starting before the first quote, ready
/// with at least one fresh pair, degraded while others are not.
pub(crate) struct Readiness {
    health: Health,
    /// The desk's count of status changes when the health was last set, and when that was.
    seen: Option<(u64, Instant)>,
    wake_at: Option<Instant>,
}

impl Readiness {
    pub(crate) fn new(health: Health) -> Self {
        Self { health, seen: None, wake_at: None }
    }

    /// When to be updated again though nothing happened.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    pub(crate) fn update(&mut self, desk: &Desk, now: Instant) {
        let changes = desk.status_changes();
        if self.seen.is_some_and(|(seen, _)| seen == changes) {
            return;
        }
        let state = judge(desk);
        let flips = state.is_ready() != self.health.state().is_ready();
        match self.seen {
            Some((_, since)) if !flips && now < since + PAUSE => self.wake_at = Some(since + PAUSE),
            _ => {
                self.health.set(state);
                self.seen = Some((changes, now));
                self.wake_at = None;
            }
        }
    }
}

fn judge(desk: &Desk) -> HealthState {
    // A pair is there before its first quote if it is made from others, or if one source is not enough for it.
    if desk.status_changes() == 0 {
        return HealthState::Starting;
    }
    let (fresh, others) = desk.by_freshness();
    if fresh == 0 {
        return HealthState::NotReady("no fresh quote".to_owned());
    }
    if others.is_empty() {
        return HealthState::Ready;
    }
    let names = others.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let rest = match others.len().saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    HealthState::Degraded(format!("not fresh: {names}{rest}"))
}
