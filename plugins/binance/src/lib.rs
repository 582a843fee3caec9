//! Binance's spot market as a source of rates: the streams `<symbol>@bookTicker`, one frame for each change of the best
//! bid or ask, in the order of their update ids.
//!
//! A subscription brings no price: until a pair's next change its price is unknown, after each new connection too. The
//! streams are silent while nothing changes, so Binance is asked all the time what it streams. Its answer shows that the
//! connection lives, and whether a stream was lost. A symbol that does not exist is taken like any other and stays silent. Binance quotes in USDT, which
//! is not USD: the pair is `BTC_USDT`.
//!
//! Facts about the protocol come from Binance's documentation of its spot WebSocket streams and from recorded sessions.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{
        Decode, DecodeError, DecoderEntry, FeedEvent,
        json::{Text, nothing, object, unquoted},
    },
    stream::{self, Exchange, Liveness, Rules, Symbols},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Binance's decoder, for sources that read recordings. It knows each pair by its usual symbol, `BTCUSDT`.
pub const DECODER: DecoderEntry = DecoderEntry { exchange: "binance", make: stream::decoder::<Binance> };

/// Binance's combined spot streams.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binance {}

/// What the names of its streams end in.
const BOOK: &str = "@bookTicker";

const HOUR: Duration = Duration::from_hours(1);

impl Exchange for Binance {
    const TYPE: &'static str = "source/binance";
    const ENDPOINT: Option<&'static str> = Some("wss://stream.binance.com:9443/stream");

    /// A connection may send 5 messages a second, pongs included. Messages of more than 4 KB are not answered, which are
    /// 120 streams of the longest names. It is cut after 24 hours.
    fn rules(&self) -> Rules {
        Rules {
            liveness: Liveness::Answers,
            messages_per_second: 3,
            most_symbols: 1024,
            audit_every: None,
            first_tick_is_snapshot: true,
            rotate_after: Some(22 * HOUR..23 * HOUR + HOUR / 2),
            ..Rules::default()
        }
    }

    fn symbol(&self, pair: Pair) -> String {
        format!("{}{}", pair.base(), pair.quote())
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder { symbols, updates: HashMap::new() })
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        let streams: Vec<_> = symbols.iter().map(|symbol| format!("{}{BOOK}", symbol.to_lowercase())).collect();
        json!({"method": "SUBSCRIBE", "params": streams, "id": request}).to_string()
    }

    fn keepalive(&self, request: u64) -> Option<String> {
        Some(json!({"method": "LIST_SUBSCRIPTIONS", "id": request}).to_string())
    }
}

struct Decoder {
    symbols: Symbols,
    /// The last change of each pair's book on this connection. There is no time to order frames by.
    updates: HashMap<Pair, u64>,
}

/// A frame of a combined stream, or an answer; or the data itself, which the other endpoint (`/ws`) sends bare.
#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow)]
    data: Option<&'f RawValue>,
    id: Option<u64>,
    #[serde(borrow, default = "nothing")]
    result: &'f RawValue,
    #[serde(borrow)]
    error: Option<&'f RawValue>,
    /// An error that has no object of its own is told by its words.
    #[serde(borrow)]
    msg: Option<&'f RawValue>,
}

/// The best bid and ask. Alone of all data it has no type.
#[derive(Deserialize)]
struct BookTicker<'f> {
    #[serde(borrow, rename = "e")]
    kind: Option<Text<'f>>,
    #[serde(rename = "u")]
    update: Option<u64>,
    #[serde(borrow, default, rename = "s")]
    symbol: Cow<'f, str>,
    #[serde(borrow, default = "nothing", rename = "b")]
    bid: &'f RawValue,
    #[serde(borrow, default = "nothing", rename = "a")]
    ask: &'f RawValue,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, text: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        let frame: Frame<'f> = object(text)?;
        events.push(match (frame.error.or(frame.msg), frame.id) {
            (Some(error), request) => {
                FeedEvent::Refused { request, symbol: None, reason: error.get().into(), permanent: false }
            }
            (None, Some(request)) if frame.result.get() == "null" => FeedEvent::Accepted { request },
            (None, Some(_)) => FeedEvent::Held { symbols: streams(frame.result)? },
            (None, None) => self.data(&object(frame.data.map_or(text, RawValue::get))?)?,
        });
        Ok(())
    }

    fn connected(&mut self) {
        self.updates.clear();
    }
}

/// The symbols of the streams that are listed.
fn streams(list: &RawValue) -> Result<Vec<Cow<'_, str>>, DecodeError> {
    let streams: Vec<Text<'_>> = serde_json::from_str(list.get()).map_err(|error| DecodeError(error.to_string()))?;
    let symbol = |Text(stream): Text<'_>| Some(stream.strip_suffix(BOOK)?.to_uppercase().into());
    Ok(streams.into_iter().filter_map(symbol).collect())
}

impl Decoder {
    fn data<'f>(&mut self, ticker: &BookTicker<'f>) -> Result<FeedEvent<'f>, DecodeError> {
        match &ticker.kind {
            Some(Text(kind)) if kind == "serverShutdown" => return Ok(FeedEvent::Reconnect),
            Some(_) => return Ok(FeedEvent::Unused("channel")),
            None => {}
        }
        let update = ticker.update.ok_or_else(|| DecodeError("no update id".to_owned()))?;
        if let Some(pair) = self.symbols.pair(&ticker.symbol) {
            let last = self.updates.entry(pair).or_default();
            if update <= *last {
                return Ok(FeedEvent::Unused("older"));
            }
            *last = update;
        }
        Ok(self.symbols.tick(&ticker.symbol, unquoted(ticker.bid), unquoted(ticker.ask), None))
    }
}
