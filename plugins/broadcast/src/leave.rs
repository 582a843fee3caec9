use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use ratebus_sdk::Clock;

/// How long it may take for each who is there: few are sent away at once, and many one after the other.
const EACH: Duration = Duration::from_millis(1);

/// How clients are sent away when the server stops: one after the other, for they all come back.
#[derive(Debug, Default)]
pub(crate) struct Leave(OnceLock<(Instant, Duration)>);

impl Leave {
    /// From now on; so many are there, and no more than this time is taken for them. Returns how long it takes. Without
    /// this they are sent away at once.
    pub(crate) fn begin(&self, clients: usize, at_most: Duration) -> Duration {
        let time = EACH.saturating_mul(u32::try_from(clients).unwrap_or(u32::MAX)).min(at_most);
        self.0.get_or_init(|| (Clock.now(), time)).1
    }

    /// When it is the turn of who has a place of so many.
    pub(crate) fn turn(&self, place: u32, of: u32) -> Instant {
        let (start, time) = self.0.get().copied().unwrap_or_else(|| (Clock.now(), Duration::ZERO));
        start + time * place / of.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_leave_soon_and_many_within_the_time_there_is() {
        let second = Duration::from_secs(1);
        for (clients, time) in [(0, Duration::ZERO), (10, 10 * EACH), (10_000, second), (usize::MAX, second)] {
            let leave = Leave::default();
            assert_eq!(leave.begin(clients, second), time);
            let at = |place| leave.turn(place, 4) - leave.turn(0, 4);
            assert_eq!([at(1), at(2), at(4)], [time / 4, time / 2, time], "{clients}");
        }
        let at_once = Leave::default();
        assert!(at_once.turn(4, 4) <= Clock.now());
    }
}
