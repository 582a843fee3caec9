//! The feed of Coinbase Exchange as a source of rates: its channels `ticker` and `heartbeat`.
//!
//! A ticker is sent at each trade, with the best bid and ask of that moment, so between trades they can be behind the
//! book. Heartbeats come every second for each product: one without them is no longer vouched for.
//!
//! Facts about the protocol come from Coinbase's documentation of its Exchange WebSocket feed and from recorded sessions.

use std::borrow::Cow;

use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{
        Decode, DecodeError, DecoderEntry, FeedEvent,
        json::{Text, TimeFormat, elements, nothing, object, unquoted},
    },
    stream::{self, Exchange, Rules, Symbols},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Coinbase's decoder, for sources that read recordings. It knows each pair by its usual symbol, `BTC-USD`.
pub const DECODER: DecoderEntry = DecoderEntry { exchange: "coinbase", make: stream::decoder::<Coinbase> };

/// Coinbase's Exchange feed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coinbase {}

impl Exchange for Coinbase {
    const TYPE: &'static str = "source/coinbase";
    const ENDPOINT: Option<&'static str> = Some("wss://ws-feed.exchange.coinbase.com");

    /// A subscription begins with the product's last ticker, which may be of long ago.
    fn rules(&self) -> Rules {
        Rules { first_tick_is_snapshot: true, ..Rules::default() }
    }

    fn symbol(&self, pair: Pair) -> String {
        format!("{}-{}", pair.base(), pair.quote())
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder(symbols))
    }

    fn subscribe(&self, _: u64, symbols: &[&str]) -> String {
        json!({"type": "subscribe", "product_ids": symbols, "channels": ["ticker", "heartbeat"]}).to_string()
    }

    fn unsubscribe(&self, _: u64, symbols: &[&str]) -> Option<String> {
        Some(json!({"type": "unsubscribe", "product_ids": symbols, "channels": ["ticker"]}).to_string())
    }
}

struct Decoder(Symbols);

#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'f, str>,
    #[serde(borrow)]
    product_id: Option<Text<'f>>,
    #[serde(borrow, default = "nothing")]
    best_bid: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    best_ask: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    time: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    channels: &'f RawValue,
    #[serde(borrow)]
    message: Option<Text<'f>>,
    #[serde(borrow)]
    reason: Option<Text<'f>>,
}

/// One of the channels that are subscribed to now.
#[derive(Deserialize)]
struct Channel<'f> {
    #[serde(borrow)]
    name: Cow<'f, str>,
    #[serde(borrow)]
    product_ids: Vec<Text<'f>>,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        let frame: Frame<'f> = object(frame)?;
        let product = frame.product_id.map(|Text(product)| product).unwrap_or_default();
        events.push(match &*frame.kind {
            "ticker" => {
                let time = TimeFormat::Rfc3339.read(frame.time);
                self.0.tick(&product, unquoted(frame.best_bid), unquoted(frame.best_ask), time)
            }
            "heartbeat" => self.0.pair(&product).map_or(FeedEvent::Unused("unknown_symbol"), FeedEvent::Alive),
            "subscriptions" => return subscriptions(frame.channels, events),
            "error" => refusal(frame.reason.or(frame.message)),
            _ => FeedEvent::Unused("channel"),
        });
        Ok(())
    }
}

/// The answer to every request is all that is subscribed now.
fn subscriptions<'f>(channels: &'f RawValue, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
    for channel in elements(channels)? {
        let channel: Channel<'f> = object(channel.get())?;
        if channel.name == "ticker" {
            let products = channel.product_ids.into_iter();
            events.extend(products.map(|Text(symbol)| FeedEvent::Subscribed { request: None, symbol }));
        }
    }
    Ok(())
}

/// One unknown product costs the whole request. The others are asked for again without it.
fn refusal(words: Option<Text<'_>>) -> FeedEvent<'_> {
    let product = words.as_ref().and_then(|Text(words)| words.strip_suffix(" is not a valid product"));
    FeedEvent::refused(product.map(str::to_owned), words)
}
