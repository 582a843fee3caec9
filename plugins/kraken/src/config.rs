use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use ratebus_model::{FoldLimits, Limits, Pair};
use ratebus_sdk::{ConfigError, duration, is_loopback};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::http::Uri;

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
    #[serde(default = "default_stale_after", with = "duration")]
    pub stale_after: Duration,
    /// How long a rate is shown without a word from the feed.
    #[serde(default = "default_dead_after", with = "duration")]
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
    #[serde(default = "default_max_jump_percent")]
    pub max_jump_percent: u32,
    /// How many ticks in a row must agree on a price beyond that before it is believed.
    #[serde(default = "default_agreeing_ticks")]
    pub agreeing_ticks: u32,
}

fn default_endpoint() -> String {
    "wss://ws.kraken.com/v2".to_owned()
}

fn default_stale_after() -> Duration {
    Limits::STREAM.stale_after
}

fn default_dead_after() -> Duration {
    Limits::STREAM.dead_after
}

fn default_stall_after() -> Duration {
    Duration::from_secs(5)
}

fn default_audit_after() -> Duration {
    Duration::from_mins(1)
}

fn default_max_jump_percent() -> u32 {
    20
}

fn default_agreeing_ticks() -> u32 {
    3
}

impl KrakenConfig {
    /// The pairs and Kraken's names for them, in the config's order.
    pub(crate) fn symbols(&self) -> Result<Vec<(Pair, String)>, ConfigError> {
        let mut error = ConfigError::default();
        let mut named = BTreeMap::new();
        for (text, symbol) in &self.symbols {
            let key = format!("symbols.{text}");
            match text.parse::<Pair>() {
                Ok(_) if symbol.is_empty() => error.add(key, "a symbol cannot be empty"),
                Ok(pair) => {
                    named.insert(pair, (key, symbol.clone()));
                }
                Err(invalid) => error.add(key, invalid.to_string()),
            }
        }
        let mut pairs = Vec::new();
        let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
        for (index, text) in self.pairs.iter().enumerate() {
            let key = format!("pairs.{index}");
            let pair = match text.parse::<Pair>() {
                Ok(pair) if seen.insert(pair) => pair,
                Ok(pair) => {
                    error.add(key, format!("{pair} is listed twice"));
                    continue;
                }
                Err(invalid) => {
                    error.add(key, invalid.to_string());
                    continue;
                }
            };
            let symbol = named.remove(&pair).map_or_else(|| usual_symbol(pair), |(_, symbol)| symbol);
            if taken.insert(symbol.clone()) {
                pairs.push((pair, symbol));
            } else {
                error.add(key, format!("another pair already stands for the symbol {symbol:?}"));
            }
        }
        for (pair, (key, _)) in named {
            error.add(key, format!("{pair} is not one of pairs"));
        }
        if self.pairs.is_empty() {
            error.add("pairs", "at least one pair is needed, such as \"BTC_USD\"");
        }
        error.or(pairs)
    }

    /// What every rate is held to.
    pub(crate) fn limits(&self) -> Result<FoldLimits, ConfigError> {
        let mut error = ConfigError::default();
        if self.stale_after >= self.dead_after {
            error.add("stale_after", "must be shorter than dead_after");
        }
        if self.stall_after.is_zero() || self.stall_after > self.stale_after {
            error.add("stall_after", "must be above zero and at most stale_after");
        }
        if self.audit_after < self.stale_after {
            error.add("audit_after", "must be at least stale_after");
        }
        if self.agreeing_ticks == 0 {
            error.add("agreeing_ticks", "must be at least 1");
        }
        error.or(FoldLimits {
            freshness: Limits { stale_after: self.stale_after, dead_after: self.dead_after },
            max_jump_percent: Some(self.max_jump_percent).filter(|&percent| percent > 0),
            agreeing_ticks: self.agreeing_ticks,
        })
    }

    /// Whether the endpoint may be used.
    pub(crate) fn check_endpoint(&self) -> Result<(), ConfigError> {
        let problem = |message: &str| Err(ConfigError::new("endpoint", message));
        let Ok(uri) = self.endpoint.parse::<Uri>() else {
            return problem("not an address such as wss://ws.kraken.com/v2");
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return problem("has no host") };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return problem("must not hold a user name or password: nobody logs in to market data");
        }
        match uri.scheme_str() {
            Some("wss") => Ok(()),
            Some("ws") if self.allow_insecure || is_loopback(host) => Ok(()),
            Some("ws") => problem("ws:// is not protected; use wss://, or set allow_insecure = true"),
            _ => problem("must start with wss://"),
        }
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
        assert_eq!(keys(config(text).limits()), ["stale_after", "stall_after", "audit_after", "agreeing_ticks"]);
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
