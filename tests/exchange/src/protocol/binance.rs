use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::json;

use super::{Kind, Protocol, Request, object, strings};
use crate::state::Listing;

/// Binance's combined streams, of which it knows `bookTicker`.
#[derive(Debug)]
pub struct Binance;

/// The number of the next change of an order book; one for all of them.
static UPDATE: AtomicU64 = AtomicU64::new(400_900_217);

impl Protocol for Binance {
    fn path(&self) -> &'static str {
        "/stream"
    }

    fn read(&self, text: &str) -> Option<Request> {
        let json = object(text)?;
        let kind = match json["method"].as_str()? {
            "SUBSCRIBE" => Kind::Subscribe,
            "UNSUBSCRIBE" => Kind::Unsubscribe,
            "LIST_SUBSCRIPTIONS" => Kind::Ping,
            _ => return None,
        };
        let streams = strings(&json["params"]);
        let symbols = streams.iter().filter_map(|stream| Some(stream.strip_suffix("@bookTicker")?.to_uppercase()));
        Some(Request { kind, symbols: symbols.collect(), json })
    }

    fn pong(&self, request: &Request, subscribed: &BTreeSet<String>) -> String {
        let streams: Vec<_> = subscribed.iter().map(|symbol| format!("{}@bookTicker", symbol.to_lowercase())).collect();
        json!({"result": streams, "id": request.json["id"]}).to_string()
    }

    fn acceptance(&self, request: &Request, _: &BTreeSet<String>) -> Option<String> {
        Some(json!({"result": null, "id": request.json["id"]}).to_string())
    }

    fn refusal(&self, request: &Request, _: &str, words: &str) -> String {
        json!({"code": 2, "msg": words, "id": request.json["id"]}).to_string()
    }

    fn is_all_or_nothing(&self) -> bool {
        true
    }

    fn has_snapshots(&self) -> bool {
        false
    }

    fn ticker(&self, _: bool, symbol: &str, Listing { bid, ask, .. }: &Listing) -> String {
        let (stream, update) = (symbol.to_lowercase(), UPDATE.fetch_add(1, Ordering::Relaxed));
        format!(
            r#"{{"stream":"{stream}@bookTicker","data":{{"u":{update},"s":"{symbol}","b":"{bid}","B":"31.21000000","a":"{ask}","A":"40.66000000"}}}}"#
        )
    }
}
