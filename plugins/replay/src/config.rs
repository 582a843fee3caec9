use std::time::Duration;

use ratebus_model::Limits;
use ratebus_sdk::{ConfigError, duration};
use serde::Deserialize;

/// The `config` table of a `source/replay`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// The recording: a path, or `builtin:kraken` for a generated one that is built in.
    pub file: String,
    /// The exchange whose frames they are.
    #[serde(default = "default_exchange")]
    pub exchange: String,
    /// The pairs to take from the recording, `BTC_USD`; at least one.
    pub pairs: Vec<String>,
    /// How fast to play: 100 as recorded, 200 twice as fast, 0 as fast as possible.
    #[serde(default = "default_speed_percent")]
    pub speed_percent: u32,
    /// Whether to begin again at the end. By default what is built in does and a file does not.
    #[serde(rename = "loop")]
    pub repeat: Option<bool>,
    /// How long a rate stays fresh without a word from the recording.
    #[serde(default = "default_stale_after", with = "duration")]
    pub stale_after: Duration,
    /// How long a rate is shown without a word from the recording.
    #[serde(default = "default_dead_after", with = "duration")]
    pub dead_after: Duration,
}

fn default_exchange() -> String {
    "kraken".to_owned()
}

fn default_speed_percent() -> u32 {
    100
}

fn default_stale_after() -> Duration {
    Limits::STREAM.stale_after
}

fn default_dead_after() -> Duration {
    Limits::STREAM.dead_after
}

impl ReplayConfig {
    pub(crate) fn limits(&self) -> Result<Limits, ConfigError> {
        if self.stale_after >= self.dead_after {
            return Err(ConfigError::new("stale_after", "must be shorter than dead_after"));
        }
        Ok(Limits { stale_after: self.stale_after, dead_after: self.dead_after })
    }
}
