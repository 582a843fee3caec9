use std::borrow::Cow;

use ratebus_model::{Market, Tick};
use ratebus_sdk::{
    feed::{
        Decode, DecodeError, FeedEvent,
        json::{Text, TimeFormat, elements, nothing, object},
    },
    stream::Symbols,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::maintenance::Announcements;

/// Reads the frames of Kraken's public WebSocket API v2.
///
/// Frames are told apart by the keys they have, in whatever order: some relays write them anew. Keys and channels that
/// are not known are ignored, because Kraken adds to both without notice. Numbers stay the text they were.
pub(crate) struct Decoder {
    symbols: Symbols,
    announcements: Announcements,
}

impl Decoder {
    pub(crate) fn new(symbols: Symbols) -> Self {
        Self { symbols, announcements: Announcements::default() }
    }
}

/// Any frame: what it is shows in which of these it has.
#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow)]
    channel: Option<Text<'f>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'f>>,
    #[serde(borrow)]
    data: Option<&'f RawValue>,
    #[serde(borrow)]
    method: Option<Text<'f>>,
    success: Option<bool>,
    #[serde(borrow)]
    result: Option<&'f RawValue>,
    #[serde(borrow)]
    error: Option<Text<'f>>,
    #[serde(borrow)]
    symbol: Option<Text<'f>>,
    /// Raw, because what we did not send need not be a number that fits.
    #[serde(borrow)]
    req_id: Option<&'f RawValue>,
    /// The one message that is neither an answer nor of a channel.
    #[serde(borrow, rename = "Error")]
    complaint: Option<Text<'f>>,
}

/// What a successful answer to `subscribe` is about.
#[derive(Deserialize)]
struct Acknowledged<'f> {
    #[serde(borrow)]
    channel: Cow<'f, str>,
    #[serde(borrow)]
    symbol: Option<Text<'f>>,
}

/// The top of a pair's book.
#[derive(Deserialize)]
struct Ticker<'f> {
    #[serde(borrow)]
    symbol: Cow<'f, str>,
    /// A whole `RawValue`, so that `null` is a value that is no price and not the same as an absent key.
    #[serde(borrow, default = "nothing")]
    bid: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    ask: &'f RawValue,
    #[serde(borrow, default = "nothing")]
    timestamp: &'f RawValue,
}

/// The state of the exchange.
#[derive(Deserialize)]
struct Status<'f> {
    #[serde(borrow)]
    system: Option<Text<'f>>,
    #[serde(borrow)]
    upcoming_maintenance: Option<&'f RawValue>,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        // Cloudflare's edge says this in plain text before it drops the connection.
        if frame.trim_start().starts_with("CloudFlare WebSocket proxy restarting") {
            events.push(FeedEvent::Reconnect);
            return Ok(());
        }
        let frame: Frame<'f> = object(frame)?;
        let event = match (&frame.channel, &frame.method, &frame.complaint) {
            (Some(Text(channel)), ..) => match &**channel {
                "ticker" => return self.ticker(&frame, events),
                "status" => return self.status(&frame, events),
                "heartbeat" => FeedEvent::Heartbeat,
                _ => FeedEvent::Unused("channel"),
            },
            (None, Some(Text(method)), _) => match &**method {
                "subscribe" => subscription(frame)?,
                "pong" => FeedEvent::Pong,
                _ => FeedEvent::Unused("method"),
            },
            (None, None, Some(Text(complaint))) if complaint.contains("Exceeded msg rate") => FeedEvent::Throttled,
            _ => FeedEvent::Unused("other"),
        };
        events.push(event);
        Ok(())
    }
}

impl Decoder {
    /// One bad row does not cost the others theirs.
    fn ticker<'f>(&self, frame: &Frame<'f>, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        let snapshot = frame.kind.as_ref().is_some_and(|Text(kind)| kind == "snapshot");
        let mut result = Ok(());
        for row in rows(frame.data)? {
            match object::<Ticker<'f>>(row.get()) {
                Ok(ticker) => events.push(self.tick(&ticker, snapshot)),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn tick<'f>(&self, ticker: &Ticker<'f>, snapshot: bool) -> FeedEvent<'f> {
        let event_time = TimeFormat::Rfc3339.read(ticker.timestamp);
        match self.symbols.tick(&ticker.symbol, ticker.bid.get(), ticker.ask.get(), event_time) {
            FeedEvent::Tick(tick) => FeedEvent::Tick(Tick { snapshot, ..tick }),
            unknown => unknown,
        }
    }

    fn status<'f>(&mut self, frame: &Frame<'f>, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        for row in rows(frame.data)? {
            let status: Status<'f> = object(row.get())?;
            if let Some(announced) = status.upcoming_maintenance {
                self.announcements.note(announced.get());
            }
            if let Some(Text(system)) = status.system {
                events.push(FeedEvent::Market(market(&system)));
            }
        }
        Ok(())
    }
}

fn rows(data: Option<&RawValue>) -> Result<Vec<&RawValue>, DecodeError> {
    elements(data.ok_or_else(|| DecodeError("no data".to_owned()))?)
}

/// In `cancel_only` and `post_only` nothing is matched: the book may be crossed or empty, and prices are indicative.
pub(crate) fn market(system: &str) -> Market {
    match system {
        "online" => Market::Online,
        "maintenance" => Market::Maintenance,
        "cancel_only" | "post_only" => Market::NotMatching,
        _ => Market::Unknown,
    }
}

/// An answer to `subscribe`. A refusal does not name its channel; the ticker is the only one asked for.
fn subscription(frame: Frame<'_>) -> Result<FeedEvent<'_>, DecodeError> {
    let request = frame.req_id.and_then(|id| id.get().parse().ok());
    if frame.success == Some(true) {
        let result = frame.result.ok_or_else(|| DecodeError("a success without a result".to_owned()))?;
        let acknowledged: Acknowledged<'_> = object(result.get())?;
        return Ok(match acknowledged.symbol {
            Some(Text(symbol)) if acknowledged.channel == "ticker" => FeedEvent::Subscribed { request, symbol },
            _ => FeedEvent::Unused("ack"),
        });
    }
    let reason = frame.error.map_or(Cow::Borrowed("no reason given"), |Text(error)| error);
    Ok(match frame.symbol.map(|Text(symbol)| symbol) {
        Some(symbol) if reason == "Already subscribed" => FeedEvent::Subscribed { request, symbol },
        symbol => {
            let permanent = HOPELESS.iter().any(|start| reason.starts_with(start));
            FeedEvent::Refused { request, symbol, reason, permanent }
        }
    })
}

/// How refusals begin that do not get better by asking again: an unknown symbol, and what is no symbol.
const HOPELESS: [&str; 2] = ["Currency pair not supported", "Currency pair not in ISO 4217"];
