use std::collections::BTreeSet;

use serde_json::json;

use super::{Kind, Protocol, Request, object, strings};
use crate::state::Listing;

/// Kraken's WebSocket API v2.
#[derive(Debug, Clone, Copy)]
pub struct Kraken;

impl Protocol for Kraken {
    fn path(&self) -> &'static str {
        "/v2"
    }

    fn greeting(&self, system: &str) -> Option<String> {
        // The connection's id is beyond what an i64 holds, as in real frames.
        Some(format!(
            r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":12525851468308464523,"upcoming_maintenance":[],"emergency":[]}}]}}"#
        ))
    }

    fn heartbeats(&self, subscribed: &BTreeSet<String>) -> Vec<String> {
        let due = !subscribed.is_empty();
        due.then(|| r#"{"channel":"heartbeat"}"#.to_owned()).into_iter().collect()
    }

    fn read(&self, text: &str) -> Option<Request> {
        let json = object(text)?;
        let kind = match json["method"].as_str()? {
            "subscribe" => Kind::Subscribe,
            "unsubscribe" => Kind::Unsubscribe,
            "ping" => Kind::Ping,
            _ => return None,
        };
        Some(Request { kind, symbols: strings(&json["params"]["symbol"]), json })
    }

    fn pong(&self, request: &Request, _: &BTreeSet<String>) -> String {
        json!({"method": "pong", "req_id": request.json["req_id"]}).to_string()
    }

    fn acknowledgement(&self, Request { json: request, .. }: &Request, symbol: &str) -> Option<String> {
        let trigger = &request["params"]["event_trigger"];
        let answer = json!({
            "method": request["method"], "req_id": request["req_id"], "success": true,
            "result": {"channel": "ticker", "event_trigger": trigger, "snapshot": true, "symbol": symbol},
            "time_in": "2026-09-19T18:57:42.603536Z", "time_out": "2026-09-19T18:57:42.603547Z",
        });
        Some(answer.to_string())
    }

    fn unknown(&self, symbol: &str) -> Option<String> {
        Some(format!("Currency pair not supported {symbol}"))
    }

    fn repeated(&self) -> Option<&'static str> {
        Some("Already subscribed")
    }

    fn refusal(&self, Request { json: request, .. }: &Request, symbol: &str, words: &str) -> String {
        json!({
            "method": request["method"], "req_id": request["req_id"], "success": false, "symbol": symbol, "error": words,
            "time_in": "2026-09-19T18:57:42.603536Z", "time_out": "2026-09-19T18:57:42.603547Z",
        })
        .to_string()
    }

    fn ticker(&self, snapshot: bool, symbol: &str, Listing { bid, ask, timestamp }: &Listing) -> String {
        let kind = if snapshot { "snapshot" } else { "update" };
        format!(
            r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{bid},"bid_qty":0.10000000,"ask":{ask},"ask_qty":0.31232000,"last":{bid},"volume":2208.75208029,"vwap":1.0,"low":1.0,"high":1.0,"change":0.1,"change_pct":0.69,"trades":93236,"timestamp":"{timestamp}"}}]}}"#
        )
    }
}
