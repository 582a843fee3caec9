use std::collections::BTreeSet;

use serde_json::json;

use super::{Kind, Protocol, Request, object, strings};
use crate::state::Listing;

/// The feed of Coinbase Exchange, of which it knows `ticker` and `heartbeat`.
#[derive(Debug, Clone, Copy)]
pub struct Coinbase;

impl Protocol for Coinbase {
    /// One of each product.
    fn heartbeats(&self, subscribed: &BTreeSet<String>) -> Vec<String> {
        let heartbeat = |product: &String| {
            json!({"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": product, "time": "2026-09-19T18:57:41.084464Z"})
                .to_string()
        };
        subscribed.iter().map(heartbeat).collect()
    }

    fn read(&self, text: &str) -> Option<Request> {
        let json = object(text)?;
        let kind = match json["type"].as_str()? {
            "subscribe" => Kind::Subscribe,
            "unsubscribe" => Kind::Unsubscribe,
            _ => return None,
        };
        Some(Request { kind, symbols: strings(&json["product_ids"]), json })
    }

    /// It has none: what is no subscription is an error.
    fn pong(&self, _: &Request, _: &BTreeSet<String>) -> String {
        r#"{"type":"error","message":"Malformed JSON"}"#.to_owned()
    }

    /// Every change is answered with all that there is now.
    fn acceptance(&self, _: &Request, subscribed: &BTreeSet<String>) -> Option<String> {
        let channel = |name: &str| json!({"name": name, "product_ids": subscribed, "account_ids": null});
        Some(json!({"type": "subscriptions", "channels": [channel("heartbeat"), channel("ticker")]}).to_string())
    }

    fn unknown(&self, symbol: &str) -> Option<String> {
        Some(format!("{symbol} is not a valid product"))
    }

    fn refusal(&self, _: &Request, _: &str, words: &str) -> String {
        json!({"type": "error", "message": "Failed to subscribe", "reason": words}).to_string()
    }

    fn is_all_or_nothing(&self) -> bool {
        true
    }

    fn ticker(&self, _: bool, symbol: &str, Listing { bid, ask, timestamp }: &Listing) -> String {
        format!(
            r#"{{"type":"ticker","sequence":136382977700,"product_id":"{symbol}","price":"{bid}","open_24h":"1","volume_24h":"4779.82744103","low_24h":"1","high_24h":"1","volume_30d":"204391.44536977","best_bid":"{bid}","best_bid_size":"0.13451536","best_ask":"{ask}","best_ask_size":"0.01135108","side":"sell","time":"{timestamp}","trade_id":1095325590,"last_size":"0.00000012"}}"#
        )
    }
}
