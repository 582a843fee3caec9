//! The frames as Kraken writes them. Prices are put in as text, so that any number or nonsense can be sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::state::{Answer, Listing, State};

pub(crate) const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;

pub(crate) fn status(system: &str) -> String {
    // Beyond what an i64 holds, as in real frames.
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":12525851468308464523,"upcoming_maintenance":[],"emergency":[]}}]}}"#
    )
}

pub(crate) fn ticker(kind: &str, symbol: &str, Listing { bid, ask, timestamp }: &Listing) -> String {
    format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{bid},"bid_qty":0.10000000,"ask":{ask},"ask_qty":0.31232000,"last":{bid},"volume":2208.75208029,"vwap":1.0,"low":1.0,"high":1.0,"change":0.1,"change_pct":0.69,"trades":93236,"timestamp":"{timestamp}"}}]}}"#
    )
}

/// The answers to a client's frame, in order. What it is subscribed to changes with them.
pub(crate) fn answers(state: &State, subscribed: &mut BTreeSet<String>, frame: &str) -> Vec<String> {
    let Ok(request) = serde_json::from_str::<Value>(frame) else { return Vec::new() };
    let mut frames = Vec::new();
    let symbols = request["params"]["symbol"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match request["method"].as_str() {
        Some("ping") => frames.push(json!({"method": "pong", "req_id": request["req_id"]}).to_string()),
        Some("subscribe") => {
            for symbol in symbols {
                match (state.answers.get(symbol), state.listings.get(symbol)) {
                    (Some(Answer::Ignore), _) => {}
                    (Some(Answer::Refuse(error)), _) => frames.push(refused(&request, symbol, error)),
                    _ if subscribed.contains(symbol) => frames.push(refused(&request, symbol, "Already subscribed")),
                    (_, None) => {
                        frames.push(refused(&request, symbol, &format!("Currency pair not supported {symbol}")));
                    }
                    (_, Some(listing)) => {
                        frames.push(acknowledged(&request, symbol));
                        frames.push(ticker("snapshot", symbol, listing));
                        subscribed.insert(symbol.to_owned());
                    }
                }
            }
        }
        Some("unsubscribe") => frames.extend(symbols.map(|symbol| {
            let held = subscribed.remove(symbol);
            if held { acknowledged(&request, symbol) } else { refused(&request, symbol, "Subscription Not Found") }
        })),
        _ => frames.push(json!({"error": "Unsupported event", "success": false}).to_string()),
    }
    frames
}

fn acknowledged(request: &Value, symbol: &str) -> String {
    let trigger = &request["params"]["event_trigger"];
    json!({
        "method": request["method"], "req_id": request["req_id"], "success": true,
        "result": {"channel": "ticker", "event_trigger": trigger, "snapshot": true, "symbol": symbol},
        "time_in": "2026-09-19T18:57:42.603536Z", "time_out": "2026-09-19T18:57:42.603547Z",
    })
    .to_string()
}

fn refused(request: &Value, symbol: &str, error: &str) -> String {
    json!({
        "method": request["method"], "req_id": request["req_id"], "success": false, "symbol": symbol, "error": error,
        "time_in": "2026-09-19T18:57:42.603536Z", "time_out": "2026-09-19T18:57:42.603547Z",
    })
    .to_string()
}
