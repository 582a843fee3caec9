//! The settings that sources have in common, checked in one place: a key means the same wherever it stands.

use std::collections::{BTreeMap, HashSet};

use axum::http::Uri;
use ratebus_model::{FoldLimits, Limits, Pair};

use super::pairs;
use crate::{ConfigError, is_loopback};

/// The pairs of a source and the exchange's names for them, in the config's order: of the keys `pairs` (texts such as
/// `BTC_USD`) and `symbols` (names where they are not the `usual` ones).
///
/// # Errors
/// What [`pairs`] finds; a name that is empty, that is given to no pair or pairs that are not listed, or that would stand
/// for two.
pub fn symbols(
    listed: &[String],
    given: &BTreeMap<String, String>,
    usual: impl Fn(Pair) -> String,
) -> Result<Vec<(Pair, String)>, ConfigError> {
    let mut error = ConfigError::default();
    let pairs = error.take(pairs(listed));
    let mut named = BTreeMap::new();
    for (text, symbol) in given {
        let key = format!("symbols.{text}");
        match text.parse::<Pair>() {
            Ok(_) if symbol.is_empty() => error.add(key, "a symbol cannot be empty"),
            Ok(pair) => {
                named.insert(pair, (key, symbol.clone()));
            }
            Err(invalid) => error.add(key, invalid.to_string()),
        }
    }
    let Some(pairs) = pairs else { return Err(error) };
    let (mut symbols, mut taken) = (Vec::new(), HashSet::new());
    for (index, pair) in pairs.into_iter().enumerate() {
        let symbol = named.remove(&pair).map_or_else(|| usual(pair), |(_, symbol)| symbol);
        if taken.insert(symbol.clone()) {
            symbols.push((pair, symbol));
        } else {
            error.add(format!("pairs.{index}"), format!("another pair already stands for the symbol {symbol:?}"));
        }
    }
    for (pair, (key, _)) in named {
        error.add(key, format!("{pair} is not one of pairs"));
    }
    error.or(symbols)
}

/// What every rate is held to: the keys `stale_after`, `dead_after`, `max_jump_percent` (0 lets everything pass) and
/// `agreeing_ticks`.
pub fn limits(freshness: Limits, max_jump_percent: u32, agreeing_ticks: u32) -> Result<FoldLimits, ConfigError> {
    let mut error = ConfigError::default();
    if freshness.stale_after >= freshness.dead_after {
        error.add("stale_after", "must be shorter than dead_after");
    }
    if agreeing_ticks == 0 {
        error.add("agreeing_ticks", "must be at least 1");
    }
    let max_jump_percent = Some(max_jump_percent).filter(|&percent| percent > 0);
    error.or(FoldLimits { freshness, max_jump_percent, agreeing_ticks })
}

/// Whether an address of an exchange may be used. `secure` is the scheme that proves who answers (`wss`, `https`);
/// without its last letter it is the open one, which is for this host alone unless `allow_insecure`: whoever sits between
/// could set the rates.
///
/// # Errors
/// Of the key `key`; the message does not repeat the address, which may hold a password.
pub fn check_address(key: &str, address: &str, secure: &str, allow_insecure: bool) -> Result<(), ConfigError> {
    let problem = |message: String| Err(ConfigError::new(key, message));
    let Ok(uri) = address.parse::<Uri>() else {
        return problem(format!("not an address such as {secure}://exchange.example/"));
    };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return problem("has no host".to_owned()) };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return problem("must not hold a user name or password: nobody logs in to market data".to_owned());
    }
    let open = secure.strip_suffix('s').unwrap_or(secure);
    match uri.scheme_str() {
        Some(scheme) if scheme == secure => Ok(()),
        Some(scheme) if scheme == open && (allow_insecure || is_loopback(host)) => Ok(()),
        Some(scheme) if scheme == open => {
            problem(format!("{open}:// is not protected; use {secure}://, or set allow_insecure = true"))
        }
        _ => problem(format!("must start with {secure}://")),
    }
}

/// Values that serde fills in for absent keys, `#[serde(default = "default::max_jump_percent")]`.
pub mod default {
    use std::time::Duration;

    use ratebus_model::Limits;

    /// `max_jump_percent`: the furthest a price may move in one tick, in percent of the last good one.
    pub fn max_jump_percent() -> u32 {
        20
    }

    /// `agreeing_ticks`: how many ticks in a row must agree on a price beyond that before it is believed.
    pub fn agreeing_ticks() -> u32 {
        3
    }

    /// `stale_after` of a feed that streams.
    pub fn stale_after() -> Duration {
        Limits::STREAM.stale_after
    }

    /// `dead_after` of a feed that streams.
    pub fn dead_after() -> Duration {
        Limits::STREAM.dead_after
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keys<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> Vec<String> {
        result.unwrap_err().problems.into_iter().map(|problem| problem.key).collect()
    }

    fn named(listed: &[&str], names: &[(&str, &str)]) -> Result<Vec<(Pair, String)>, ConfigError> {
        let listed: Vec<String> = listed.iter().map(|&text| text.to_owned()).collect();
        let names = names.iter().map(|&(pair, name)| (pair.to_owned(), name.to_owned())).collect();
        symbols(&listed, &names, |pair| format!("{}/{}", pair.base(), pair.quote()))
    }

    #[test]
    fn a_pair_goes_by_its_usual_symbol_or_the_one_that_is_given() {
        let symbols = named(&["XBT/USD", "aaplx-usd"], &[("AAPLX_USD", "AAPLx/USD")]).unwrap();
        let texts: Vec<_> = symbols.iter().map(|(pair, symbol)| format!("{pair} {symbol}")).collect();
        assert_eq!(texts, ["BTC_USD BTC/USD", "AAPLX_USD AAPLx/USD"]);
    }

    #[test]
    fn every_bad_pair_and_symbol_is_named() {
        assert_eq!(keys(named(&["BTC_USD", "BTCUSD", "XBT/USD"], &[("X", "y")])), ["pairs.1", "pairs.2", "symbols.X"]);
        assert_eq!(keys(named(&[], &[])), ["pairs"]);
        let wrong = [("BTC_USD", ""), ("ETH_USD", "ETH/USD"), ("X", "y")];
        assert_eq!(keys(named(&["BTC_USD"], &wrong)), ["symbols.BTC_USD", "symbols.X", "symbols.ETH_USD"]);
        assert_eq!(keys(named(&["BTC_USD", "ETH_USD"], &[("ETH_USD", "BTC/USD")])), ["pairs.1"]);
    }

    #[test]
    fn limits_must_make_sense() {
        let minute = Duration::from_mins(1);
        let backwards = Limits { stale_after: minute, dead_after: minute };
        assert_eq!(keys(limits(backwards, 20, 0)), ["stale_after", "agreeing_ticks"]);
        assert_eq!(limits(Limits::STREAM, 0, 1).unwrap().max_jump_percent, None);
    }

    #[test]
    fn an_open_connection_needs_loopback_or_consent() {
        let check = |address: &str, insecure| check_address("endpoint", address, "wss", insecure);
        for local in ["ws://127.0.0.1:9/v2", "ws://[::1]:9/v2", "ws://localhost/v2", "wss://example.com/v2"] {
            assert_eq!(check(local, false), Ok(()), "{local}");
        }
        assert_eq!(check("ws://example.com/v2", true), Ok(()));
        assert_eq!(check_address("url", "https://example.com/ticker", "https", false), Ok(()));
        let refused =
            ["ws://example.com/v2", "ws://127.0.0.1.example.com", "https://a", "wss://u:p@a/v2", "a b", "wss:///v2"];
        for address in refused {
            assert_eq!(keys(check(address, false)), ["endpoint"], "{address}");
        }
    }
}
