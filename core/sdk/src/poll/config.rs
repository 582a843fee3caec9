use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use ratebus_model::{Limits, Pair};

use super::{Client, ClientLimits, Poller};
use crate::{AttemptBudget, ConfigError, feed, tls};

/// Declares the `config` table of a source that polls: its own keys, then those that all such sources have, which
/// `common()` hands over. (Serde's `flatten` would lose the names of wrong keys.)
#[macro_export]
macro_rules! poll_config {
    ($(#[$meta:meta])* pub struct $Config:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Config {
            $($own)*
            /// The pairs to serve, `BTC_USD`; at least one.
            pub pairs: Vec<String>,
            /// How long after one round of requests the next one starts.
            #[serde(default, with = "ratebus_sdk::duration::option")]
            pub interval: Option<std::time::Duration>,
            /// How long an answer may take.
            #[serde(default, with = "ratebus_sdk::duration::option")]
            pub timeout: Option<std::time::Duration>,
            /// Allows an `http://` address that is not on this host. Whoever sits between can then set the rates.
            #[serde(default)]
            pub allow_insecure: bool,
            /// A PEM file of the only certificate authorities to trust; without it the public ones hold.
            pub ca_file: Option<std::path::PathBuf>,
            /// How old a rate may be and fresh.
            #[serde(default, with = "ratebus_sdk::duration::option")]
            pub stale_after: Option<std::time::Duration>,
            /// How old it may be and shown.
            #[serde(default, with = "ratebus_sdk::duration::option")]
            pub dead_after: Option<std::time::Duration>,
            /// The furthest a price may move from one round to the next, in percent of the last good one; 0 lets
            /// everything pass.
            #[serde(default = "ratebus_sdk::feed::default::max_jump_percent")]
            pub max_jump_percent: u32,
            /// How many prices in a row must agree beyond that before they are believed.
            #[serde(default = "ratebus_sdk::feed::default::agreeing_ticks")]
            pub agreeing_ticks: u32,
        }

        impl $Config {
            fn common(&self) -> ratebus_sdk::poll::Common {
                ratebus_sdk::poll::Common {
                    interval: self.interval,
                    timeout: self.timeout,
                    ca_file: self.ca_file.clone(),
                    stale_after: self.stale_after,
                    dead_after: self.dead_after,
                    max_jump_percent: self.max_jump_percent,
                    agreeing_ticks: self.agreeing_ticks,
                }
            }
        }
    };
}

/// The keys that all sources have which poll; see [`poll_config`](crate::poll_config).
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the macro has them")]
pub struct Common {
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub ca_file: Option<PathBuf>,
    pub stale_after: Option<Duration>,
    pub dead_after: Option<Duration>,
    pub max_jump_percent: u32,
    pub agreeing_ticks: u32,
}

/// What an exchange is like, where the config does not say otherwise.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// How long after one round the next one starts.
    pub interval: Duration,
    /// When a rate is stale and dead.
    pub limits: Limits,
    /// The most bytes of an answer.
    pub largest: usize,
    /// How many requests may be made in any window of so long.
    pub budget: AttemptBudget,
}

impl Common {
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A poller of `pairs` at the host called `name` that sends `headers` with every request.
    ///
    /// # Errors
    /// Times that make no sense together, and a `ca_file` that cannot be used.
    pub fn poller(
        self,
        name: &str,
        pairs: Vec<Pair>,
        headers: HeaderMap,
        defaults: Defaults,
    ) -> Result<Poller, ConfigError> {
        let mut error = ConfigError::default();
        let interval = self.interval.unwrap_or(defaults.interval);
        let timeout = self.timeout.unwrap_or(Self::TIMEOUT);
        let freshness = Limits {
            stale_after: self.stale_after.unwrap_or(defaults.limits.stale_after),
            dead_after: self.dead_after.unwrap_or(defaults.limits.dead_after),
        };
        for (key, span) in [("interval", interval), ("timeout", timeout)] {
            if span.is_zero() {
                error.add(key, "must be above zero");
            }
        }
        if freshness.stale_after <= interval {
            error.add("stale_after", "must be longer than interval, or rates would be stale between rounds");
        }
        let limits = error.take(feed::limits(freshness, self.max_jump_percent, self.agreeing_ticks));
        let tls = error.take(tls::client_config(self.ca_file.as_deref()));
        let (Some(limits), Some(tls)) = (limits, tls) else { return Err(error) };
        let client_limits = ClientLimits { timeout, largest: defaults.largest, budget: defaults.budget };
        let client = Client::new(&tls, headers, client_limits);
        error.or(Poller { name: Arc::from(name), client, interval, pairs, limits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(common: Common) -> Vec<String> {
        let limits = Limits { stale_after: Duration::from_secs(30), dead_after: Duration::from_secs(90) };
        let budget = AttemptBudget::new(1, Duration::from_secs(1));
        let defaults = Defaults { interval: Duration::from_secs(5), limits, largest: 1024, budget };
        match common.poller("test", Vec::new(), HeaderMap::new(), defaults) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.into_iter().map(|problem| problem.key).collect(),
        }
    }

    #[test]
    fn every_key_that_makes_no_sense_is_named() {
        let usual = Common {
            interval: None,
            timeout: None,
            ca_file: None,
            stale_after: None,
            dead_after: None,
            max_jump_percent: 20,
            agreeing_ticks: 3,
        };
        assert_eq!(keys(usual.clone()), [""; 0]);
        let zero = Some(Duration::ZERO);
        let wrong = Common { interval: zero, timeout: zero, agreeing_ticks: 0, ..usual.clone() };
        assert_eq!(keys(wrong), ["interval", "timeout", "agreeing_ticks"]);
        assert_eq!(keys(Common { interval: Some(Duration::from_secs(30)), ..usual.clone() }), ["stale_after"]);
        let short = Common { dead_after: Some(Duration::from_secs(30)), ..usual.clone() };
        assert_eq!(keys(short), ["stale_after"]);
        assert_eq!(keys(Common { ca_file: Some("/nonexistent/ca.pem".into()), ..usual }), ["ca_file"]);
    }
}
