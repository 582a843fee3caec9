use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ratebus_model::{FoldLimits, Limits};
use serde::Deserialize;

use crate::{
    ConfigError, duration,
    feed::{self, default},
};

/// The `config` table of a source that follows an exchange over a WebSocket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "E: Deserialize<'de> + Default"))]
pub struct StreamConfig<E> {
    /// Where to connect: a `wss://` address, the exchange's public one by default.
    pub endpoint: Option<String>,
    /// Allows a `ws://` endpoint that is not on this host. Whoever sits between can then set the rates.
    #[serde(default)]
    pub allow_insecure: bool,
    /// A PEM file of the only certificate authorities to trust, for a private endpoint. Without it the public ones that
    /// are built in hold. The server's certificate is verified in any case.
    pub ca_file: Option<PathBuf>,
    /// The pairs to serve, `BTC_USD`; at least one.
    pub pairs: Vec<String>,
    /// The exchange's own names for pairs where they are not the usual ones: `AAPLX_USD = "AAPLx/USD"`.
    #[serde(default)]
    pub symbols: BTreeMap<String, String>,
    /// How long a rate stays fresh without a word from the feed.
    #[serde(default = "default::stale_after", with = "duration")]
    pub stale_after: Duration,
    /// How long a rate is shown without a word from the feed.
    #[serde(default = "default::dead_after", with = "duration")]
    pub dead_after: Duration,
    /// How long the exchange may leave us without a word: without data and signs of life the connection is made anew,
    /// without an acknowledgement a subscription is asked for again.
    #[serde(default = "default_stall_after", with = "duration")]
    pub stall_after: Duration,
    /// After how long without a price a pair is asked for anew or, where that brings none, no longer vouched for. Signs of life are of the connection, so a subscription
    /// that the exchange lost silently would pass for a quiet market for ever; this is how long at most. It cannot be
    /// shorter than `stale_after`: a rate may go unconfirmed for that long and be fresh, so asking sooner gains nothing and
    /// costs two messages for every pair that is merely quiet.
    #[serde(default = "default_audit_after", with = "duration")]
    pub audit_after: Duration,
    /// The furthest a price may move in one tick, in percent of the last good one; 0 lets everything pass.
    #[serde(default = "default::max_jump_percent")]
    pub max_jump_percent: u32,
    /// How many ticks in a row must agree on a price beyond that before it is believed.
    #[serde(default = "default::agreeing_ticks")]
    pub agreeing_ticks: u32,
    /// What can be chosen in the exchange's protocol.
    #[serde(default)]
    pub protocol: E,
}

fn default_stall_after() -> Duration {
    Duration::from_secs(5)
}

fn default_audit_after() -> Duration {
    Duration::from_mins(1)
}

impl<E> StreamConfig<E> {
    /// What every rate is held to.
    pub(crate) fn limits(&self) -> Result<FoldLimits, ConfigError> {
        let mut error = ConfigError::default();
        let freshness = Limits { stale_after: self.stale_after, dead_after: self.dead_after };
        let limits = error.take(feed::limits(freshness, self.max_jump_percent, self.agreeing_ticks));
        if self.stall_after.is_zero() || self.stall_after > self.stale_after {
            error.add("stall_after", "must be above zero and at most stale_after");
        }
        if self.audit_after < self.stale_after {
            error.add("audit_after", "must be at least stale_after");
        }
        let Some(limits) = limits else { return Err(error) };
        error.or(limits)
    }

    /// Where to connect, if that may be used.
    pub(crate) fn endpoint(&self, usual: Option<&str>) -> Result<String, ConfigError> {
        let endpoint = self.endpoint.as_deref().or(usual);
        let endpoint = endpoint.ok_or_else(|| ConfigError::new("endpoint", "missing"))?;
        feed::check_address("endpoint", endpoint, "wss", self.allow_insecure)?;
        Ok(endpoint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Toy {}

    fn config(more: &serde_json::Value) -> StreamConfig<Toy> {
        let mut config = json!({"pairs": ["BTC_USD"]});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    fn keys<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> Vec<String> {
        result.unwrap_err().problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn pairs_alone_are_enough_where_the_exchange_has_an_address() {
        let config = config(&json!({}));
        assert_eq!(config.limits().unwrap().freshness, Limits::STREAM);
        assert_eq!(config.endpoint(Some("wss://exchange.example/v2")).unwrap(), "wss://exchange.example/v2");
        assert_eq!(keys(config.endpoint(None)), ["endpoint"]);
    }

    #[test]
    fn an_address_of_ones_own_is_checked() {
        let config = config(&json!({"endpoint": "ws://exchange.example"}));
        assert_eq!(keys(config.endpoint(Some("wss://exchange.example"))), ["endpoint"]);
    }

    #[test]
    fn limits_must_make_sense() {
        let config =
            config(&json!({"stale_after": "60s", "stall_after": "61s", "audit_after": "59s", "agreeing_ticks": 0}));
        assert_eq!(keys(config.limits()), ["stale_after", "agreeing_ticks", "stall_after", "audit_after"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in [r#"{"pairs":["BTC_USD"],"endpont":""}"#, r#"{"pairs":["BTC_USD"],"protocol":{"channel":""}}"#] {
            assert!(serde_json::from_str::<StreamConfig<Toy>>(text).is_err(), "{text}");
        }
    }
}
