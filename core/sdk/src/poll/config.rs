use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ratebus_model::{FoldLimits, Limits};
use serde::Deserialize;

use super::Rules;
use crate::{
    ConfigError, duration,
    feed::{self, default},
};

/// The `config` table of a source that asks an exchange over HTTP. `P` is the table `protocol`, for those with something
/// to choose there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "P: Deserialize<'de> + Default"))]
pub struct PollConfig<P = NoKeys> {
    /// Where to ask: an `https://` address, the exchange's public one by default.
    pub endpoint: Option<String>,
    /// Allows an `http://` endpoint that is not on this host. Whoever sits between can then set the rates.
    #[serde(default)]
    pub allow_insecure: bool,
    /// A PEM file of the only certificate authorities to trust; without it the public ones hold. The server's certificate
    /// is verified in any case.
    pub ca_file: Option<PathBuf>,
    /// The pairs to serve, `BTC_USD`; at least one.
    pub pairs: Vec<String>,
    /// The exchange's own names for pairs where they are not the usual ones.
    #[serde(default)]
    pub symbols: BTreeMap<String, String>,
    /// How long after the start of one round of requests the next one starts.
    #[serde(default, with = "duration::option")]
    pub interval: Option<Duration>,
    /// How long an answer may take, to its last byte.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// How old a rate may be and fresh.
    #[serde(default, with = "duration::option")]
    pub stale_after: Option<Duration>,
    /// How old it may be and shown.
    #[serde(default, with = "duration::option")]
    pub dead_after: Option<Duration>,
    /// The furthest a price may move from one round to the next, in percent of the last good one; 0 lets everything pass.
    #[serde(default = "default::max_jump_percent")]
    pub max_jump_percent: u32,
    /// How many prices in a row must agree beyond that before they are believed.
    #[serde(default = "default::agreeing_ticks")]
    pub agreeing_ticks: u32,
    /// What can be chosen in the exchange's protocol.
    #[serde(default)]
    pub protocol: P,
}

/// The table `protocol` of exchanges that leave nothing to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoKeys {}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl<P> PollConfig<P> {
    /// The interval and what every rate is held to; what the config does not say is as `rules` have it.
    pub(super) fn times(&self, rules: &Rules) -> Result<(Duration, FoldLimits), ConfigError> {
        let mut error = ConfigError::default();
        let interval = self.interval.unwrap_or(rules.interval);
        for (key, span) in [("interval", interval), ("timeout", self.timeout)] {
            if span.is_zero() {
                error.add(key, "must be above zero");
            }
        }
        let freshness = Limits {
            stale_after: self.stale_after.unwrap_or(rules.limits.stale_after),
            dead_after: self.dead_after.unwrap_or(rules.limits.dead_after),
        };
        if freshness.stale_after <= interval {
            error.add("stale_after", "must be longer than interval, or rates would be stale between rounds");
        }
        let limits = error.take(feed::limits(freshness, self.max_jump_percent, self.agreeing_ticks));
        let Some(limits) = limits else { return Err(error) };
        error.or((interval, limits))
    }

    /// Where to ask, if that may be used; without a slash at the end.
    pub(super) fn endpoint(&self, usual: Option<&str>) -> Result<String, ConfigError> {
        let endpoint = self.endpoint.as_deref().or(usual);
        let endpoint = endpoint.ok_or_else(|| ConfigError::new("endpoint", "missing"))?;
        feed::check_address("endpoint", endpoint, "https", self.allow_insecure)?;
        if endpoint.contains('?') {
            return Err(ConfigError::new("endpoint", "must have no query: paths are put behind it"));
        }
        Ok(endpoint.trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(more: &serde_json::Value) -> Vec<String> {
        let mut config = json!({"pairs": ["BTC_USD"]});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: PollConfig = serde_json::from_value(config).unwrap();
        let mut error = ConfigError::default();
        error.take(config.times(&Rules::default()));
        error.take(config.endpoint(Some("https://exchange.example/")));
        error.problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn every_key_that_makes_no_sense_is_named() {
        assert_eq!(keys(&json!({})), [""; 0]);
        let zero = json!({"interval": "0s", "timeout": "0s", "agreeing_ticks": 0});
        assert_eq!(keys(&zero), ["interval", "timeout", "agreeing_ticks"]);
        assert_eq!(keys(&json!({"interval": "30s"})), ["stale_after"]);
        assert_eq!(
            keys(&json!({"dead_after": "30s", "endpoint": "http://exchange.example"})),
            ["stale_after", "endpoint"]
        );
        assert_eq!(keys(&json!({"endpoint": "https://exchange.example/?key=1"})), ["endpoint"]);
        for text in [r#"{"pairs":[],"intervall":"1s"}"#, r#"{"pairs":[],"protocol":{"key":""}}"#] {
            assert!(serde_json::from_str::<PollConfig>(text).is_err(), "{text}");
        }
    }
}
