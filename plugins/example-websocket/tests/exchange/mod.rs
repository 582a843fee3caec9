//! The toy exchange: what it says and hears. Connections, and everything that can go wrong with them, are the test kit's.

use std::collections::BTreeSet;

use ratebus_test_exchange::{Kind, Listing, Protocol, Request};
use serde_json::{Value, json};

pub(crate) struct Toy;

impl Protocol for Toy {
    fn heartbeats(&self, _subscribed: &BTreeSet<String>) -> Vec<String> {
        vec![json!({"type": "heartbeat"}).to_string()]
    }

    fn read(&self, text: &str) -> Option<Request> {
        let json: Value = serde_json::from_str(text).ok()?;
        let kind = match json["op"].as_str()? {
            "subscribe" => Kind::Subscribe,
            "ping" => Kind::Ping,
            _ => return None,
        };
        let symbols = json["symbols"].as_array().into_iter().flatten();
        let symbols = symbols.filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Request { kind, symbols, json })
    }

    fn pong(&self, _: &Request, _subscribed: &BTreeSet<String>) -> String {
        json!({"type": "pong"}).to_string()
    }

    fn acknowledgement(&self, request: &Request, symbol: &str) -> Option<String> {
        Some(json!({"type": "subscribed", "id": request.json["id"], "symbol": symbol}).to_string())
    }

    fn unknown(&self, _symbol: &str) -> Option<String> {
        Some("unknown symbol".to_owned())
    }

    fn refusal(&self, request: &Request, symbol: &str, words: &str) -> String {
        json!({"type": "refused", "id": request.json["id"], "symbol": symbol, "reason": words}).to_string()
    }

    /// Prices are put in as text: some tests send what is none.
    fn ticker(&self, _snapshot: bool, symbol: &str, Listing { bid, ask, timestamp }: &Listing) -> String {
        format!(r#"{{"type":"price","symbol":"{symbol}","bid":"{bid}","ask":"{ask}","time":"{timestamp}"}}"#)
    }
}
