use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a price may be trusted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The feed vouches for it.
    Fresh,
    /// The feed has been silent past `stale_after`, or says that the market is not matching: shown, and marked.
    Stale,
    /// Silent past `dead_after`: no longer shown.
    Dead,
}

/// After how long without the feed's word a price is stale, then dead. Each source has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Age past which a price is [`Status::Stale`].
    pub stale_after: Duration,
    /// Age past which a price is [`Status::Dead`].
    pub dead_after: Duration,
}

impl Limits {
    /// For feeds that send a heartbeat: 10 s and 60 s.
    pub const STREAM: Self = Self { stale_after: Duration::from_secs(10), dead_after: Duration::from_mins(1) };

    /// The status of a price that the feed last vouched for `age` ago.
    pub fn status(&self, age: Duration) -> Status {
        if age > self.dead_after {
            Status::Dead
        } else if age > self.stale_after {
            Status::Stale
        } else {
            Status::Fresh
        }
    }

    /// When a price that the feed last vouched for at `confirmed_at` has the next status, if it has another to come.
    pub fn next_change(&self, confirmed_at: Instant, now: Instant) -> Option<Instant> {
        let age = now.saturating_duration_since(confirmed_at);
        let next = [self.stale_after, self.dead_after].into_iter().filter(|&limit| limit >= age).min()?;
        // A price is stale past the limit, not at it.
        confirmed_at.checked_add(next + Duration::from_nanos(1))
    }
}
