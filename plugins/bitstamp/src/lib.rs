//! Bitstamp's order books as a source of rates: the first rows of the channels `order_book_*`, each frame of which is the
//! whole top of the book.
//!
//! A subscription brings no price: until a book's next change its price is unknown, after each new connection too; quiet
//! books are silent for a minute. So Bitstamp is asked for a heartbeat all the time, which shows that the connection
//! lives. A symbol that does not exist is taken like any other and stays silent.
//!
//! Facts about the protocol come from Bitstamp's documentation of its WebSocket API v2 and from recorded sessions.

use std::borrow::Cow;

use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{
        Decode, DecodeError, DecoderEntry, FeedEvent,
        json::{Text, TimeFormat, nothing, object, side},
    },
    stream::{self, Exchange, Liveness, Rules, Symbols},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bitstamp's decoder, for sources that read recordings. It knows each pair by its usual symbol, `btcusd`.
pub const DECODER: DecoderEntry = DecoderEntry { exchange: "bitstamp", make: stream::decoder::<Bitstamp> };

/// Bitstamp's WebSocket API v2.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bitstamp {}

/// The channels that are a book's whole top. (`diff_order_book_*` has what changed in it.)
const BOOK: &str = "order_book_";

impl Exchange for Bitstamp {
    const TYPE: &'static str = "source/bitstamp";
    const ENDPOINT: Option<&'static str> = Some("wss://ws.bitstamp.net");

    /// A message has one channel.
    fn rules(&self) -> Rules {
        Rules {
            liveness: Liveness::Answers,
            symbols_per_message: 1,
            most_symbols: 1024,
            audit_every: None,
            first_tick_is_snapshot: true,
            ..Rules::default()
        }
    }

    fn symbol(&self, pair: Pair) -> String {
        format!("{}{}", pair.base(), pair.quote()).to_lowercase()
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder(symbols))
    }

    fn subscribe(&self, _: u64, symbols: &[&str]) -> String {
        let channel = format!("{BOOK}{}", symbols.concat());
        json!({"event": "bts:subscribe", "data": {"channel": channel}}).to_string()
    }

    fn keepalive(&self, _: u64) -> Option<String> {
        Some(json!({"event": "bts:heartbeat"}).to_string())
    }
}

struct Decoder(Symbols);

#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow)]
    event: Cow<'f, str>,
    #[serde(borrow, default)]
    channel: Cow<'f, str>,
    #[serde(borrow, default = "nothing")]
    data: &'f RawValue,
}

#[derive(Deserialize)]
struct Book<'f> {
    #[serde(borrow)]
    bids: &'f RawValue,
    #[serde(borrow)]
    asks: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    microtimestamp: &'f RawValue,
}

#[derive(Deserialize)]
struct Fault<'f> {
    #[serde(borrow)]
    message: Option<Text<'f>>,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        let Frame { event, channel, data } = object(frame)?;
        let symbol = channel.strip_prefix(BOOK);
        events.push(match (&*event, symbol) {
            ("data", Some(symbol)) => self.price(symbol, &object(data.get())?),
            ("bts:subscription_succeeded", Some(symbol)) => {
                FeedEvent::Subscribed { request: None, symbol: Cow::Owned(symbol.to_owned()) }
            }
            ("bts:heartbeat", _) => FeedEvent::Pong,
            ("bts:request_reconnect", _) => FeedEvent::Reconnect,
            ("bts:error", _) => FeedEvent::refused(None, object::<Fault<'f>>(data.get())?.message),
            (_, None) => FeedEvent::Unused("channel"),
            _ => FeedEvent::Unused("event"),
        });
        Ok(())
    }
}

impl Decoder {
    fn price<'f>(&self, symbol: &str, book: &Book<'f>) -> FeedEvent<'f> {
        self.0.tick(symbol, side(book.bids), side(book.asks), TimeFormat::Us.read(book.microtimestamp))
    }
}
