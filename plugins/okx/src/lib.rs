//! OKX's public channels as a source of rates: `bbo-tbt`, one frame for each change of the best bid or ask, or `tickers`,
//! at most one in 100 ms.
//!
//! The channels are silent while nothing changes, so OKX is sent its `ping` all the time, and its `pong` shows that the
//! connection lives. OKX quotes in USDT, which is not USD: the pair is `BTC_USDT`.
//!
//! Facts about the protocol come from OKX's documentation of its API v5 and from recorded sessions.

use std::{borrow::Cow, time::Duration};

use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{
        Decode, DecodeError, DecoderEntry, FeedEvent,
        json::{Text, TimeFormat, elements, nothing, object, side},
    },
    stream::{self, Exchange, Liveness, Rules, Symbols},
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// OKX's decoder, for sources that read recordings. It knows each pair by its usual symbol, `BTC-USDT`.
pub const DECODER: DecoderEntry = DecoderEntry { exchange: "okx", make: stream::decoder::<Okx> };

/// OKX's API v5, and the table `protocol` of a `source/okx`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Okx {
    /// Where the prices come from.
    pub channel: Channel,
}

/// A channel that has the best bid and ask.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Each change of the best bid or ask.
    #[default]
    BboTbt,
    /// At most one in 100 ms.
    Tickers,
}

impl Exchange for Okx {
    const TYPE: &'static str = "source/okx";
    const ENDPOINT: Option<&'static str> = Some("wss://ws.okx.com:8443/ws/v5/public");

    /// A connection may subscribe and unsubscribe 480 times an hour, so it is audited three times a minute at most. A
    /// subscription begins with the state of now.
    fn rules(&self) -> Rules {
        Rules {
            liveness: Liveness::Answers,
            audit_every: Some(Duration::from_secs(20)),
            first_tick_is_snapshot: true,
            ..Rules::default()
        }
    }

    fn symbol(&self, pair: Pair) -> String {
        format!("{}-{}", pair.base(), pair.quote())
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder(symbols))
    }

    fn subscribe(&self, _: u64, symbols: &[&str]) -> String {
        self.request("subscribe", symbols)
    }

    fn unsubscribe(&self, _: u64, symbols: &[&str]) -> Option<String> {
        Some(self.request("unsubscribe", symbols))
    }

    /// No JSON, and neither is the answer.
    fn keepalive(&self, _: u64) -> Option<String> {
        Some("ping".to_owned())
    }
}

impl Okx {
    fn request(&self, op: &str, symbols: &[&str]) -> String {
        let arg = |symbol| json!({"channel": self.channel, "instId": symbol});
        json!({"op": op, "args": symbols.iter().map(arg).collect::<Vec<_>>()}).to_string()
    }
}

struct Decoder(Symbols);

#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow, default)]
    event: Cow<'f, str>,
    #[serde(borrow, default)]
    arg: Arg<'f>,
    #[serde(borrow, default = "nothing")]
    data: &'f RawValue,
    #[serde(borrow, default)]
    code: Cow<'f, str>,
    #[serde(borrow)]
    msg: Option<Text<'f>>,
}

/// What a frame is about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Arg<'f> {
    #[serde(borrow)]
    channel: Cow<'f, str>,
    #[serde(borrow, rename = "instId")]
    symbol: Cow<'f, str>,
}

/// A row of either channel. In `bbo-tbt` a side is one level or none.
#[derive(Deserialize)]
struct Row<'f> {
    #[serde(borrow, default = "nothing", rename = "bidPx", alias = "bids")]
    bid: &'f RawValue,
    #[serde(borrow, default = "nothing", rename = "askPx", alias = "asks")]
    ask: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    ts: &'f RawValue,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        if frame == "pong" {
            events.push(FeedEvent::Pong);
            return Ok(());
        }
        let Frame { event, arg: Arg { channel, symbol }, data, code, msg } = object(frame)?;
        let priced = matches!(&*channel, "bbo-tbt" | "tickers");
        events.push(match (&*event, &*code) {
            ("", _) if priced => return self.prices(&symbol, data, events),
            ("subscribe", _) if priced => FeedEvent::Subscribed { request: None, symbol },
            ("error", _) => refusal(msg),
            // This connection ends soon.
            ("notice", "64008") => FeedEvent::Reconnect,
            _ => FeedEvent::Unused("other"),
        });
        Ok(())
    }
}

impl Decoder {
    fn prices<'f>(&self, symbol: &str, data: &'f RawValue, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        for row in elements(data)? {
            let row: Row<'f> = object(row.get())?;
            events.push(self.0.tick(symbol, side(row.bid), side(row.ask), TimeFormat::Ms.read(row.ts)));
        }
        Ok(())
    }
}

/// The symbol stands in the words alone: `channel:tickers,instId:NOPE-USDT doesn't exist`.
fn refusal(words: Option<Text<'_>>) -> FeedEvent<'_> {
    let named = words.as_ref().and_then(|Text(words)| words.split_once("instId:")?.1.split_once(" doesn't exist"));
    FeedEvent::refused(named.map(|(symbol, _)| symbol.to_owned()), words)
}
