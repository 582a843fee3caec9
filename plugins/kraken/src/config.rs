use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ratebus_model::{FoldLimits, Limits, Pair};
use ratebus_sdk::{
    ConfigError, duration,
    feed::{self, default},
};
use serde::Deserialize;

use crate::decode::usual_symbol;

/// The `config` table of a `source/kraken`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KrakenConfig {
    /// Where to connect: a `wss://` address, Kraken's public one by default.
    #[serde(default = "default_endpoint")]
    pub endpoint: String,
    /// Allows a `ws://` endpoint that is not on this host. Whoever sits between can then set the rates.
    #[serde(default)]
    pub allow_insecure: bool,
    /// A PEM file of the only certificate authorities to trust, for a private endpoint. Without it the public ones that
    /// are built in hold. The server's certificate is verified in any case.
    pub ca_file: Option<PathBuf>,
    /// The pairs to serve, `BTC_USD`; at least one.
    pub pairs: Vec<String>,
    /// Kraken's own name for pairs where it is not simply `BTC/USD`: `AAPLX_USD = "AAPLx/USD"`.
    #[serde(default)]
    pub symbols: BTreeMap<String, String>,
    /// How long a rate stays fresh without a word from the feed.
    #[serde(default = "default::stale_after", with = "duration")]
    pub stale_after: Duration,
    /// How long a rate is shown without a word from the feed.
    #[serde(default = "default::dead_after", with = "duration")]
    pub dead_after: Duration,
    /// How long the exchange may leave us without a word: without data and heartbeats (it sends one every second) the
    /// connection is made anew, without an acknowledgement a subscription is asked for again.
    #[serde(default = "default_stall_after", with = "duration")]
    pub stall_after: Duration,
    /// After how long without a price a pair is asked for anew. Heartbeats are of the connection, so a subscription that
    /// the exchange lost silently would pass for a quiet market for ever; this is how long at most. It cannot be shorter
    /// than `stale_after`: a rate may go unconfirmed for that long and be fresh, so asking sooner gains nothing and costs
    /// two messages for every pair that is merely quiet.
    #[serde(default = "default_audit_after", with = "duration")]
    pub audit_after: Duration,
    /// The furthest a price may move in one tick, in percent of the last good one; 0 lets everything pass.
    #[serde(default = "default::max_jump_percent")]
    pub max_jump_percent: u32,
    /// How many ticks in a row must agree on a price beyond that before it is believed.
    #[serde(default = "default::agreeing_ticks")]
    pub agreeing_ticks: u32,
}

fn default_endpoint() -> String {
    "wss://ws.kraken.com/v2".to_owned()
}

fn default_stall_after() -> Duration {
    Duration::from_secs(5)
}

fn default_audit_after() -> Duration {
    Duration::from_mins(1)
}

impl KrakenConfig {
    /// The pairs and Kraken's names for them, in the config's order.
    pub(crate) fn symbols(&self) -> Result<Vec<(Pair, String)>, ConfigError> {
        feed::symbols(&self.pairs, &self.symbols, usual_symbol)
    }

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

    /// Whether the endpoint may be used.
    pub(crate) fn check_endpoint(&self) -> Result<(), ConfigError> {
        feed::check_address("endpoint", &self.endpoint, "wss", self.allow_insecure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> KrakenConfig {
        serde_json::from_str(json).unwrap()
    }

    fn keys<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> Vec<String> {
        result.unwrap_err().problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn pairs_alone_are_enough() {
        let config = config(r#"{"pairs":["XBT/USD","aaplx-usd"],"symbols":{"AAPLX_USD":"AAPLx/USD"}}"#);
        let symbols = config.symbols().unwrap();
        let texts: Vec<_> = symbols.iter().map(|(pair, symbol)| format!("{pair} {symbol}")).collect();
        assert_eq!(texts, ["BTC_USD BTC/USD", "AAPLX_USD AAPLx/USD"]);
        assert_eq!(config.check_endpoint(), Ok(()));
        assert_eq!(config.limits().unwrap().freshness, Limits::STREAM);
    }

    #[test]
    fn every_bad_pair_is_named() {
        assert_eq!(keys(config(r#"{"pairs":["BTC_USD","BTCUSD","XBT/USD"]}"#).symbols()), ["pairs.1", "pairs.2"]);
        assert_eq!(keys(config(r#"{"pairs":[]}"#).symbols()), ["pairs"]);
        let symbols = r#"{"pairs":["BTC_USD"],"symbols":{"ETH_USD":"ETH/USD","X":"y","BTC_USD":""}}"#;
        assert_eq!(keys(config(symbols).symbols()), ["symbols.BTC_USD", "symbols.X", "symbols.ETH_USD"]);
        let same = r#"{"pairs":["BTC_USD","ETH_USD"],"symbols":{"ETH_USD":"BTC/USD"}}"#;
        assert_eq!(keys(config(same).symbols()), ["pairs.1"]);
    }

    #[test]
    fn limits_must_make_sense() {
        let text =
            r#"{"pairs":["BTC_USD"],"stale_after":"60s","stall_after":"61s","audit_after":"59s","agreeing_ticks":0}"#;
        assert_eq!(keys(config(text).limits()), ["stale_after", "agreeing_ticks", "stall_after", "audit_after"]);
        assert_eq!(config(r#"{"pairs":["BTC_USD"],"max_jump_percent":0}"#).limits().unwrap().max_jump_percent, None);
    }

    #[test]
    fn an_open_connection_needs_loopback_or_consent() {
        let check = |endpoint: &str, allow_insecure| {
            KrakenConfig { endpoint: endpoint.to_owned(), allow_insecure, ..config(r#"{"pairs":["BTC_USD"]}"#) }
                .check_endpoint()
        };
        for local in ["ws://127.0.0.1:9/v2", "ws://[::1]:9/v2", "ws://localhost/v2"] {
            assert_eq!(check(local, false), Ok(()), "{local}");
        }
        assert_eq!(check("ws://example.com/v2", true), Ok(()));
        let refused =
            ["ws://example.com/v2", "ws://127.0.0.1.example.com", "https://a", "wss://u:p@a/v2", "a b", "wss:///v2"];
        for endpoint in refused {
            assert!(check(endpoint, false).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<KrakenConfig>(r#"{"pairs":["BTC_USD"],"endpont":""}"#).is_err());
    }
}
