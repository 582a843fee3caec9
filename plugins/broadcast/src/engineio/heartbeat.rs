use std::time::Instant;

use super::{Rules, Version};

/// When the client is asked whether it is there, or when it must have been heard.
pub(super) struct Heartbeat {
    pub(super) at: Instant,
    /// Whether it has been asked; those of version 3 are never, for they ask.
    pub(super) is_asked: bool,
}

impl Heartbeat {
    /// From a sign of life on.
    pub(super) fn new(version: Version, rules: &Rules, now: Instant) -> Self {
        let asks = now + rules.ping_interval;
        match version {
            Version::V4 => Self { at: asks, is_asked: false },
            Version::V3 { .. } => Self { at: asks + rules.ping_timeout, is_asked: true },
        }
    }
}
