//! Kraken's public WebSocket v2 ticker as a source of rates.
//!
//! It subscribes to every change of the best bid and ask (`event_trigger: "bbo"`; by default Kraken sends trades only, and
//! between trades bid and ask would silently rot). Kraken sends a heartbeat every second while anything is subscribed.
//!
//! Facts about the protocol come from Kraken's documentation of its WebSocket API v2 and from recorded sessions.

mod decode;
mod maintenance;
mod rest;

use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{Decode, DecoderEntry},
    stream::{self, Exchange, Symbols},
};
use serde::Deserialize;
use serde_json::json;

use crate::decode::Decoder;
pub use crate::rest::KrakenRest;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Kraken's decoder, for sources that read recordings. It knows each pair by its usual symbol, `BTC/USD`.
pub const DECODER: DecoderEntry = DecoderEntry { exchange: "kraken", make: stream::decoder::<Kraken> };

/// Kraken's WebSocket API v2.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kraken {}

/// What a price is sent for: without it for trades alone. To unsubscribe takes it again.
const EVENT_TRIGGER: &str = "bbo";

impl Exchange for Kraken {
    const TYPE: &'static str = "source/kraken";
    const ENDPOINT: Option<&'static str> = Some("wss://ws.kraken.com/v2");

    fn symbol(&self, pair: Pair) -> String {
        format!("{}/{}", pair.base(), pair.quote())
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder::new(symbols))
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        let params = json!({"channel": "ticker", "symbol": symbols, "event_trigger": EVENT_TRIGGER, "snapshot": true});
        json!({"method": "subscribe", "params": params, "req_id": request}).to_string()
    }

    fn unsubscribe(&self, request: u64, symbols: &[&str]) -> Option<String> {
        let params = json!({"channel": "ticker", "symbol": symbols, "event_trigger": EVENT_TRIGGER});
        Some(json!({"method": "unsubscribe", "params": params, "req_id": request}).to_string())
    }

    /// Kraken drops a connection after about a minute without traffic, and sends no heartbeat before a subscription.
    fn keepalive(&self, request: u64) -> Option<String> {
        Some(json!({"method": "ping", "req_id": request}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn messages_are_those_of_the_documentation() {
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let params = |extra: Value| {
            let mut params = json!({"channel": "ticker", "event_trigger": "bbo", "symbol": ["C0/USD", "C1/USD"]});
            params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            params
        };
        let symbols = ["C0/USD", "C1/USD"];
        let expected = json!({"method": "unsubscribe", "req_id": 2, "params": params(json!({}))});
        assert_eq!(read(Kraken {}.unsubscribe(2, &symbols).unwrap()), expected);
        let expected = json!({"method": "subscribe", "req_id": 3, "params": params(json!({"snapshot": true}))});
        assert_eq!(read(Kraken {}.subscribe(3, &symbols)), expected);
        assert_eq!(read(Kraken {}.keepalive(4).unwrap()), json!({"method": "ping", "req_id": 4}));
        assert_eq!(Kraken {}.symbol("XBT_USD".parse().unwrap()), "BTC/USD");
    }
}
