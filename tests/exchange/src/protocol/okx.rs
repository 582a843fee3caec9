use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Kind, Protocol, Request, micros, object};
use crate::state::Listing;

/// OKX's public channels of API v5, of which it knows `bbo-tbt`.
#[derive(Debug, Clone, Copy)]
pub struct Okx;

impl Protocol for Okx {
    fn path(&self) -> &'static str {
        "/ws/v5/public"
    }

    fn read(&self, text: &str) -> Option<Request> {
        if text == "ping" {
            return Some(Request { kind: Kind::Ping, symbols: Vec::new(), json: Value::Null });
        }
        let json = object(text)?;
        let kind = match json["op"].as_str()? {
            "subscribe" => Kind::Subscribe,
            "unsubscribe" => Kind::Unsubscribe,
            _ => return None,
        };
        let args = json["args"].as_array().into_iter().flatten().filter(|arg| arg["channel"] == "bbo-tbt");
        let symbols = args.filter_map(|arg| arg["instId"].as_str()).map(str::to_owned).collect();
        Some(Request { kind, symbols, json })
    }

    fn pong(&self, _: &Request, _: &BTreeSet<String>) -> String {
        "pong".to_owned()
    }

    fn acknowledgement(&self, request: &Request, symbol: &str) -> Option<String> {
        let arg = json!({"channel": "bbo-tbt", "instId": symbol});
        Some(json!({"event": request.json["op"], "arg": arg, "connId": "a4d3ae55"}).to_string())
    }

    fn unknown(&self, symbol: &str) -> Option<String> {
        Some(format!(
            "Wrong URL or channel:bbo-tbt,instId:{symbol} doesn't exist. Please use the correct URL, channel and parameters referring to API document."
        ))
    }

    fn refusal(&self, _: &Request, _: &str, words: &str) -> String {
        let code = if words.contains("doesn't exist") { "60018" } else { "60014" };
        json!({"event": "error", "code": code, "msg": words, "connId": "a4d3ae55"}).to_string()
    }

    fn ticker(&self, _: bool, symbol: &str, listing: &Listing) -> String {
        let (Listing { bid, ask, .. }, ts) = (listing, micros(listing) / 1000);
        format!(
            r#"{{"arg":{{"channel":"bbo-tbt","instId":"{symbol}"}},"data":[{{"asks":[["{ask}","415","0","13"]],"bids":[["{bid}","256","0","2"]],"ts":"{ts}","seqId":123456}}]}}"#
        )
    }
}
