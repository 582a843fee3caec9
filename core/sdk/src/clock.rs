use std::time::{Instant, SystemTime};

use ratebus_model::{Arrival, Timestamp};

/// Where a plugin gets its time from. The monotonic side is tokio's, so that tests can pause and advance it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Now, for ages and deadlines.
    pub fn now(self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Now, for people.
    pub fn wall(self) -> Timestamp {
        SystemTime::now().into()
    }

    /// Now, by both clocks.
    pub fn arrival(self) -> Arrival {
        Arrival { time: self.wall(), at: self.now() }
    }
}
