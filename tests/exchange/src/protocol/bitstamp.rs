use std::collections::BTreeSet;

use serde_json::json;

use super::{Kind, Protocol, Request, micros, object};
use crate::state::Listing;

/// Bitstamp's WebSocket API v2, of which it knows `order_book_*`.
#[derive(Debug, Clone, Copy)]
pub struct Bitstamp;

impl Protocol for Bitstamp {
    fn read(&self, text: &str) -> Option<Request> {
        let json = object(text)?;
        let kind = match json["event"].as_str()? {
            "bts:subscribe" => Kind::Subscribe,
            "bts:unsubscribe" => Kind::Unsubscribe,
            "bts:heartbeat" => Kind::Ping,
            _ => return None,
        };
        let symbol = json["data"]["channel"].as_str().and_then(|channel| channel.strip_prefix("order_book_"));
        Some(Request { kind, symbols: symbol.map(str::to_owned).into_iter().collect(), json })
    }

    fn pong(&self, _: &Request, _: &BTreeSet<String>) -> String {
        r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.to_owned()
    }

    fn acknowledgement(&self, request: &Request, symbol: &str) -> Option<String> {
        let event = match request.kind {
            Kind::Subscribe => "bts:subscription_succeeded",
            _ => "bts:unsubscription_succeeded",
        };
        Some(json!({"event": event, "channel": format!("order_book_{symbol}"), "data": {}}).to_string())
    }

    fn refusal(&self, _: &Request, _: &str, words: &str) -> String {
        json!({"event": "bts:error", "channel": "", "data": {"code": null, "message": words}}).to_string()
    }

    fn has_snapshots(&self) -> bool {
        false
    }

    fn ticker(&self, _: bool, symbol: &str, listing: &Listing) -> String {
        let (Listing { bid, ask, .. }, micros) = (listing, micros(listing));
        let seconds = micros / 1_000_000;
        format!(
            r#"{{"data":{{"timestamp":"{seconds}","microtimestamp":"{micros}","bids":[["{bid}","0.41122"],["0.01","1.00000"]],"asks":[["{ask}","0.32386"],["9999999","0.10000"]]}},"channel":"order_book_{symbol}","event":"data"}}"#
        )
    }
}
