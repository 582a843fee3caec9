use std::{collections::BTreeMap, env};

use ratebus_sdk::{
    ConfigError,
    feed::{
        SymbolName,
        json::{Pointer, TimeFormat},
    },
    poll::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;

/// The table `protocol` of a `source/http-json`. Places in an answer are JSON pointers (RFC 6901).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// What is asked for below the endpoint: with `{symbol}` once for each pair, with `{symbols}` or neither for all at once.
    pub path: String,
    /// What stands between the names in `{symbols}`.
    pub separator: String,
    /// How it names pairs, unless `symbols` says otherwise: by default `{BASE}-{QUOTE}`.
    pub symbol: SymbolName,
    /// Where the tickers are: a list, or an object with the pairs' names as keys. Without it the answer is one ticker.
    pub list: Option<Pointer>,
    /// Where a ticker has its pair's name. Without it the names of a list are its keys, and one ticker is of the pair that was
    /// asked for.
    pub name: Option<Pointer>,
    /// Where a ticker has the best bid and the best ask,
    pub bid: Option<Pointer>,
    /// both of them,
    pub ask: Option<Pointer>,
    /// or one price without sides.
    pub price: Option<Pointer>,
    /// Where it has its time.
    pub time: Option<Pointer>,
    /// How that is written.
    pub time_format: TimeFormat,
    /// Whether a price is as old as its time says, and not as the request that brought it. It is where prices come late; it
    /// is not where the time is that of the last trade.
    pub aged: bool,
    /// Where an answer has what is wrong, whatever its status: anything but null, false, 0 and what is empty.
    pub error: Option<Pointer>,
    /// Headers of each request.
    pub headers: BTreeMap<String, String>,
    /// Headers of each request that are secrets: the names of the environment's variables that have them.
    pub headers_from_env: BTreeMap<String, String>,
    /// How many requests the exchange allows.
    pub requests_per_second: u32,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            path: String::new(),
            separator: ",".to_owned(),
            symbol: SymbolName::default(),
            list: None,
            name: None,
            bid: None,
            ask: None,
            price: None,
            time: None,
            time_format: TimeFormat::default(),
            aged: false,
            error: None,
            headers: BTreeMap::new(),
            headers_from_env: BTreeMap::new(),
            requests_per_second: 1,
        }
    }
}

/// Where a ticker has its prices.
pub(crate) enum Prices {
    Sides { bid: Pointer, ask: Pointer },
    Reference(Pointer),
}

impl Protocol {
    /// Whether each pair is asked for by itself.
    pub(crate) fn one_by_one(&self) -> bool {
        self.path.contains("{symbol}")
    }

    pub(crate) fn prices(&self) -> Result<Prices, ConfigError> {
        match (&self.bid, &self.ask, &self.price) {
            (Some(bid), Some(ask), None) => Ok(Prices::Sides { bid: bid.clone(), ask: ask.clone() }),
            (None, None, Some(price)) => Ok(Prices::Reference(price.clone())),
            (_, _, Some(_)) => Err(ConfigError::new("protocol.price", "is in place of bid and ask")),
            (None, ..) => {
                Err(ConfigError::new("protocol.bid", "missing: where a ticker has its bid, such as \"/bid\""))
            }
            (_, None, _) => {
                Err(ConfigError::new("protocol.ask", "missing: where a ticker has its ask, such as \"/ask\""))
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut error = ConfigError::default();
        if !self.path.starts_with('/') {
            error.add("protocol.path", "must start with a slash: what is asked for below the endpoint");
        }
        if self.one_by_one() && self.path.contains("{symbols}") {
            error.add("protocol.path", "has both {symbol} and {symbols}");
        }
        if self.list.is_none() && !self.one_by_one() {
            error.add(
                "protocol.list",
                "missing: where an answer for all pairs has its tickers; \"\" is the whole of it",
            );
        }
        if self.aged && self.time.is_none() {
            error.add("protocol.aged", "needs time");
        }
        if self.requests_per_second == 0 {
            error.add("protocol.requests_per_second", "must be above zero");
        }
        error.or(())
    }

    /// The headers; those of the environment are shown to nobody else.
    pub(crate) fn headers(&self) -> Result<HeaderMap, ConfigError> {
        let mut error = ConfigError::default();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let header = header(&format!("protocol.headers.{name}"), name, value);
            headers.extend(error.take(header));
        }
        for (name, variable) in &self.headers_from_env {
            let key = format!("protocol.headers_from_env.{name}");
            let value = env::var(variable).map_err(|why| ConfigError::new(&key, format!("{variable}: {why}")));
            let header = value.and_then(|value| header(&key, name, &value)).map(|(name, mut value)| {
                value.set_sensitive(true);
                (name, value)
            });
            headers.extend(error.take(header));
        }
        error.or(headers)
    }
}

fn header(key: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let name = HeaderName::try_from(name).map_err(|_| ConfigError::new(key, "is no name of a header"))?;
    let value = HeaderValue::try_from(value).map_err(|_| ConfigError::new(key, "is no value of a header"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(more: &Value) -> Vec<String> {
        let mut config = json!({"path": "/t/{symbol}", "bid": "/b", "ask": "/a"});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let protocol: Protocol = serde_json::from_value(config).unwrap();
        let mut error = ConfigError::default();
        error.take(protocol.check());
        error.take(protocol.prices().map(drop));
        error.take(protocol.headers());
        error.problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn every_key_that_makes_no_sense_is_named() {
        assert_eq!(keys(&json!({})), [""; 0]);
        assert_eq!(keys(&json!({"bid": null, "ask": null, "price": "/p"})), [""; 0]);
        let cases = [
            (json!({"path": "t"}), vec!["protocol.path", "protocol.list"]),
            (json!({"path": "/{symbol}/{symbols}"}), vec!["protocol.path"]),
            (json!({"path": "/{symbols}"}), vec!["protocol.list"]),
            (json!({"aged": true}), vec!["protocol.aged"]),
            (json!({"requests_per_second": 0}), vec!["protocol.requests_per_second"]),
            (json!({"ask": null}), vec!["protocol.ask"]),
            (json!({"bid": null}), vec!["protocol.bid"]),
            (json!({"price": "/p"}), vec!["protocol.price"]),
            (json!({"headers": {"a b": "c", "d": "e\n"}}), vec!["protocol.headers.a b", "protocol.headers.d"]),
            (json!({"headers_from_env": {"x-key": "NOT_SET"}}), vec!["protocol.headers_from_env.x-key"]),
        ];
        for (wrong, expected) in cases {
            assert_eq!(keys(&wrong), expected, "{wrong}");
        }
        assert!(serde_json::from_value::<Protocol>(json!({"bid": "b"})).is_err());
        assert!(serde_json::from_value::<Protocol>(json!({"offer": "/b"})).is_err());
    }

    #[test]
    fn a_header_of_the_environment_is_shown_to_nobody_else() {
        let text = json!({"headers_from_env": {"x-path": "PATH"}});
        let headers = serde_json::from_value::<Protocol>(text).unwrap().headers().unwrap();
        assert_eq!(headers["x-path"].to_str().unwrap(), env::var("PATH").unwrap());
        assert!(headers["x-path"].is_sensitive());
    }
}
