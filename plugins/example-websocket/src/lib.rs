//! A source that follows an exchange over a WebSocket.
//!
//! As it stands it speaks the toy protocol of `tests/exchange`, in JSON:
//!
//! | who | says |
//! |---|---|
//! | we | `{"op":"subscribe","id":1,"symbols":["BTC-USD"]}` |
//! | exchange | `{"type":"subscribed","id":1,"symbol":"BTC-USD"}`, then the price of now |
//! | exchange | `{"type":"refused","id":1,"symbol":"BTC-USD","reason":"unknown symbol"}` |
//! | exchange | `{"type":"price","symbol":"BTC-USD","bid":"81413.20","ask":"81413.30","time":"2026-09-19T18:57:42Z"}` |
//! | exchange | `{"type":"heartbeat"}`, each second |
//! | we | `{"op":"ping"}`; it answers `{"type":"pong"}` |
//!
//! An exchange of your own is other texts in [`Exchange`] and another `Frame`. Whatever has to do with connections is the
//! SDK's: see [`ratebus_sdk::stream`].

use std::borrow::Cow;

use ratebus_sdk::{
    feed::{
        Decode, DecodeError, FeedEvent,
        json::{Text, TimeFormat, nothing, object, unquoted},
    },
    model::Pair,
    stream::{Exchange, Rules, Symbols},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// The exchange: `Stream<ExampleWebsocketExchange>` is the source. Its fields are the keys of the config's table `protocol`,
/// if your exchange leaves something to choose.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleWebsocketExchange {}

impl Exchange for ExampleWebsocketExchange {
    /// What `use` names in the config.
    const TYPE: &'static str = "source/example-websocket";

    /// Its public address, `Some("wss://…")`. The toy is wherever the config says.
    const ENDPOINT: Option<&'static str> = None;

    /// What its silence means, and how much may be asked of it: heartbeats prove the feed's life by default.
    fn rules(&self) -> Rules {
        // The first price after a subscription is the one of now, and is not marked as such.
        Rules { first_tick_is_snapshot: true, ..Rules::default() }
    }

    /// Its name of a pair.
    fn symbol(&self, pair: Pair) -> String {
        format!("{}-{}", pair.base(), pair.quote())
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        json!({"op": "subscribe", "id": request, "symbols": symbols}).to_string()
    }

    /// What it is sent now and then, and answers whatever the market does.
    fn keepalive(&self, _: u64) -> Option<String> {
        Some(json!({"op": "ping"}).to_string())
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder(symbols))
    }
}

struct Decoder(Symbols);

/// Any frame. What it may lack is an `Option`, or `nothing`; keys that are not named here are skipped. A price is a
/// `RawValue`, which keeps its digits as they came, in quotes or not; in an `f64` or a `Value` they would be lost.
#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'f, str>,
    id: Option<u64>,
    #[serde(borrow)]
    symbol: Option<Text<'f>>,
    #[serde(borrow, default = "nothing")]
    bid: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    ask: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    time: &'f RawValue,
    #[serde(borrow)]
    reason: Option<Text<'f>>,
}

impl Decode for Decoder {
    /// One event for each thing that the frame says. An error is for what is not of the protocol: the frame is counted and
    /// dropped, and the feed goes on. What is no price (zero, crossed, no number) need not be found here.
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        let frame: Frame<'f> = object(frame)?;
        let symbol = frame.symbol.map(|Text(symbol)| symbol).unwrap_or_default();
        events.push(match &*frame.kind {
            "price" => {
                let time = TimeFormat::Rfc3339.read(frame.time);
                self.0.tick(&symbol, unquoted(frame.bid), unquoted(frame.ask), time)
            }
            "heartbeat" => FeedEvent::Heartbeat,
            "pong" => FeedEvent::Pong,
            "subscribed" => FeedEvent::Subscribed { request: frame.id, symbol },
            "refused" => {
                let reason = frame.reason.map_or("no reason given".into(), |Text(reason)| reason);
                // Permanent: asking again would not help.
                FeedEvent::Refused { request: frame.id, symbol: Some(symbol), reason, permanent: true }
            }
            _ => FeedEvent::Unused("type"),
        });
        Ok(())
    }
}
