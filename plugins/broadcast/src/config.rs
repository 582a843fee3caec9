use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism, time::Duration};

use ratebus_sdk::{ConfigError, Env};
use serde::Deserialize;

use crate::{door::Access, pace::MAX_RATE, places::Places, socketio::Rates};

/// More would share cores, on any machine there is.
const MAX_LOOPS: usize = 1024;

/// The plugin's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listener that clients connect to.
    pub(crate) listener: String,
    /// How long a client may take nothing of what is pending before it is closed.
    #[serde(default = "default_stall_timeout", with = "ratebus_sdk::duration")]
    pub(crate) stall_timeout: Duration,
    /// How many writes of quotes a second a client is sent at most, in each the newest of each pair; 0: as many as there
    /// are. A client may ask for less.
    #[serde(default)]
    pub(crate) max_rate: u32,
    /// Over how long clients are sent away at most when the server stops.
    #[serde(default = "default_drain", with = "ratebus_sdk::duration")]
    pub(crate) drain: Duration,
    /// How many clients may be connected at once, over all transports; more are refused with 503.
    #[serde(default = "default_max_clients")]
    pub(crate) max_clients: u32,
    /// How many of them one address may have; of IPv6 its /64. As many may come from it within ten seconds.
    #[serde(default = "default_max_clients_per_address")]
    pub(crate) max_clients_per_address: u32,
    /// How many clients may come within a second; more are refused with 503.
    #[serde(default = "default_max_clients_per_second")]
    pub(crate) max_clients_per_second: u32,
    /// Whom the streams are for: `"public"`, or `"accounts"`: people who are logged in.
    #[serde(default)]
    pub(crate) access: Access,
    /// How many loops serve WebSocket clients; by default one for each core.
    #[serde(default = "default_loops")]
    pub(crate) loops: usize,
    /// Whether the original project's Socket.IO clients are served.
    #[serde(default = "default_socketio")]
    pub(crate) socketio: bool,
    /// Whether those of version 2, which speak Engine.IO 3, are served, too.
    #[serde(default)]
    pub(crate) socketio_eio3: bool,
    /// What their `rates:live` carries unless they ask for something else.
    #[serde(default)]
    pub(crate) socketio_rates: Rates,
}

const fn default_stall_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn default_drain() -> Duration {
    Duration::from_secs(2)
}

const fn default_max_clients() -> u32 {
    10_000
}

const fn default_max_clients_per_second() -> u32 {
    10_000
}

const fn default_max_clients_per_address() -> u32 {
    1000
}

fn default_loops() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

const fn default_socketio() -> bool {
    true
}

impl Config {
    /// The places that it allows.
    pub(crate) fn places(&self) -> Arc<Places> {
        Places::new(self.max_clients, self.max_clients_per_address, self.max_clients_per_second)
    }

    /// What a type cannot say.
    pub(crate) fn check(self, env: &Env) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::default();
        problems.take(env.listener("listener", &self.listener));
        if self.stall_timeout.is_zero() {
            problems.add("stall_timeout", "must be longer than nothing");
        }
        if self.max_rate > MAX_RATE {
            problems.add("max_rate", format!("must be 0 to {MAX_RATE}"));
        }
        if self.max_clients == 0 {
            problems.add("max_clients", "must be at least 1");
        }
        if self.max_clients_per_address == 0 {
            problems.add("max_clients_per_address", "must be at least 1");
        }
        if self.max_clients_per_second == 0 {
            problems.add("max_clients_per_second", "must be at least 1");
        }
        if !(1..=MAX_LOOPS).contains(&self.loops) {
            problems.add("loops", format!("must be 1 to {MAX_LOOPS}"));
        }
        if self.access == Access::Accounts {
            env.needs_sessions("access");
        }
        problems.or(self)
    }
}
