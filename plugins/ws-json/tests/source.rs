//! Exchanges by config alone, against the scripted ones that speak as the real ones do: what every source must do.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_conformance::{Venue, suite};
use ratebus_sdk::{ConfigError, Factory, stream::Stream, testkit::env};
use ratebus_ws_json::WsJson;
use serde_json::{Value, json};

mod coinbase {
    use super::*;

    /// Of each product's ticker and heartbeat.
    const CONFIG: &str = r#"{"protocol": {
        "subscribe": "{\"type\":\"subscribe\",\"product_ids\":{symbols},\"channels\":[\"ticker\",\"heartbeat\"]}",
        "price": {"when": {"/type": "ticker"}, "symbol": "/product_id", "bid": "/best_bid", "ask": "/best_ask", "time": "/time"},
        "heartbeat": {"/type": "heartbeat"}
    }}"#;

    suite!(
        Stream<WsJson>,
        Venue {
            protocol: &ratebus_test_exchange::Coinbase,
            pairs: [("BTC_USD", "BTC-USD"), ("ETH_USD", "ETH-USD"), ("NOPE_USD", "NOPE-USD")],
            unlisted: "",
            config: CONFIG,
        }
    );
}

mod bitstamp {
    use super::*;

    /// A message and a channel for each pair, which its frames are known by, and answers to a question.
    const CONFIG: &str = r#"{"protocol": {
        "symbol": "order_book_{base}{quote}",
        "subscribe": "{\"event\":\"bts:subscribe\",\"data\":{\"channel\":\"{symbol}\"}}",
        "price": {
            "when": {"/event": "data"}, "symbol": "/channel", "bid": "/data/bids", "ask": "/data/asks",
            "time": "/data/microtimestamp", "time_format": "us"
        },
        "keepalive": "{\"event\":\"bts:heartbeat\"}",
        "heartbeat": {"/event": "bts:heartbeat"}
    }}"#;

    suite!(
        Stream<WsJson>,
        Venue {
            protocol: &ratebus_test_exchange::Bitstamp,
            pairs: [("BTC_USD", "btcusd"), ("ETH_USD", "ethusd"), ("NOPE_USD", "nopeusd")],
            unlisted: "not acknowledged yet",
            config: CONFIG,
        }
    );
}

mod okx {
    use super::*;

    /// An answer that is no JSON, and an order book's levels.
    const CONFIG: &str = r#"{"protocol": {
        "subscribe": "{\"op\":\"subscribe\",\"args\":[{\"channel\":\"bbo-tbt\",\"instId\":\"{symbol}\"}]}",
        "price": {
            "symbol": "/arg/instId", "bid": "/data/0/bids", "ask": "/data/0/asks", "time": "/data/0/ts", "time_format": "ms"
        },
        "keepalive": "ping",
        "heartbeat": "pong"
    }}"#;

    suite!(
        Stream<WsJson>,
        Venue {
            protocol: &ratebus_test_exchange::Okx,
            pairs: [("BTC_USDT", "BTC-USDT"), ("ETH_USDT", "ETH-USDT"), ("NOPE_USDT", "NOPE-USDT")],
            unlisted: "not acknowledged yet",
            config: CONFIG,
        }
    );
}

/// The keys that are wrong in a config, or what serde says of it.
fn wrong(config: &Value) -> Vec<String> {
    let config = match serde_json::from_value(config.clone()) {
        Ok(config) => config,
        Err(error) => return vec![error.to_string()],
    };
    match Stream::<WsJson>::build(config, &env("any", &[])) {
        Ok(_) => Vec::new(),
        Err(ConfigError { problems }) => problems.into_iter().map(|problem| problem.key).collect(),
    }
}

#[test]
fn what_is_wrong_is_named() {
    let price = json!({"symbol": "/s", "bid": "/b", "ask": "/a"});
    let config =
        |protocol: Value| json!({"endpoint": "wss://exchange.example", "pairs": ["BTC_USD"], "protocol": protocol});
    let with = |more: Value| {
        let mut protocol = json!({"subscribe": "{symbols}", "price": price});
        protocol.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config(protocol)
    };
    assert_eq!(wrong(&with(json!({}))), [""; 0]);
    assert_eq!(wrong(&json!({"pairs": ["BTC_USD"]})), ["endpoint", "protocol"]);
    for (more, expected) in [
        (json!({"keepalive_every": "1s"}), "protocol.keepalive_every"),
        (json!({"keepalive": "ping"}), "protocol.keepalive"),
        (json!({"keepalive": "ping", "heartbeat": "pong", "keepalive_every": "5s"}), "protocol.keepalive_every"),
        (json!({"symbols_per_message": 0}), "protocol.symbols_per_message"),
        (json!({"price": {"when": "x", "symbol": "/s", "bid": "/b", "ask": "/a"}}), "protocol.price.when"),
    ] {
        assert_eq!(wrong(&with(more)), [expected]);
    }
    for (more, expected) in [
        (json!({"subscribe": "{}"}), "must have {symbols}"),
        (json!({"symbol": "{QUOTE}"}), "must have {BASE} or {base}"),
        (json!({"price": {"symbol": "s", "bid": "/b", "ask": "/a"}}), "not a JSON pointer"),
        (json!({"price": {"symbol": "/s", "bid": "/b"}}), "missing field `ask`"),
        (json!({"price": {"symbol": "/s", "bid": "/b", "ask": "/a", "time_format": "ns"}}), "unknown variant `ns`"),
        (json!({"heartbeat": 5}), "a whole frame as a string, or a table"),
        (json!({"heartbaet": "x"}), "unknown field `heartbaet`"),
    ] {
        let said = wrong(&with(more));
        assert!(said[0].contains(expected), "{said:?}");
    }
}
