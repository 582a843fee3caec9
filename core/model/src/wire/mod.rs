//! Payloads as JSON: how they travel between processes, in one form for every broker and for readers in any language.
//!
//! Prices and spreads are decimals as strings, times are RFC 3339 in UTC. A moment of the sender's monotonic clock means
//! nothing elsewhere, so a price travels with its feed's age (`feedAgeMs`) when it was sent; the receiver counts on from
//! there. Unknown members are ignored, so that a newer sender can add some.

mod pairs;
mod quote;
mod rate;
mod spread;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::{Arrival, Invalid, Limits, Payload, Sides};
use pairs::WirePairs;
use quote::WireQuote;
use rate::WireRate;
use spread::WireSpread;

/// A payload on its way out or in: `{"rate": {…}}`, `{"quote": {…}}`, `{"spread": {…}}`, `{"pairs": {…}}`, `{"gone": {}}`, `{"text": "…"}`,
/// or `{"base64": "…"}` for bytes that are no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WirePayload(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Rate(WireRate),
    Quote(Box<WireQuote>),
    Spread(WireSpread),
    Pairs(WirePairs),
    Gone {},
    Text(String),
    Base64(String),
}

impl WirePayload {
    /// A payload as it is sent at `now`.
    pub fn new(payload: &Payload, now: Instant) -> Self {
        Self(match payload {
            Payload::Rate(rate) => Kind::Rate(WireRate::new(rate, now)),
            Payload::Quote(quote) => Kind::Quote(Box::new(WireQuote::new(quote, now))),
            Payload::Spread(spread) => Kind::Spread(WireSpread::new(spread)),
            Payload::Pairs(pairs) => Kind::Pairs(WirePairs::new(pairs)),
            Payload::Gone => Kind::Gone {},
            Payload::Bytes(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Kind::Text(text.to_owned()),
                Err(_) => Kind::Base64(BASE64.encode(bytes)),
            },
        })
    }

    /// Whether it is [`Payload::Gone`].
    pub fn is_gone(&self) -> bool {
        matches!(self.0, Kind::Gone {})
    }

    /// The payload as it is here. `travelled` is how long it was on its way, and is added to the feed's age.
    ///
    /// # Errors
    /// Its values cannot be what a sender of ours meant: a crossed price, limits that contradict each other, an age past all
    /// limits.
    pub fn into_payload(self, arrival: Arrival, travelled: Duration) -> Result<Payload, Invalid> {
        Ok(match self.0 {
            Kind::Rate(rate) => rate.into_rate(arrival, travelled)?.into(),
            Kind::Quote(quote) => quote.into_quote(arrival, travelled)?.into(),
            Kind::Spread(spread) => spread.into_spread().into(),
            Kind::Pairs(pairs) => pairs.into_list().into(),
            Kind::Gone {} => Payload::Gone,
            Kind::Text(text) => Payload::Bytes(text.into()),
            Kind::Base64(text) => Payload::Bytes(unbase64(&text)?),
        })
    }
}

fn unbase64(text: &str) -> Result<Bytes, Invalid> {
    BASE64.decode(text.as_bytes()).map(Into::into).map_err(|_| Invalid::new(text, "base64"))
}

/// As [`Sides`], which in a request have no members but their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WireSides<T> {
    buy: T,
    sell: T,
}

impl<T> From<Sides<T>> for WireSides<T> {
    fn from(Sides { buy, sell }: Sides<T>) -> Self {
        Self { buy, sell }
    }
}

impl<T> From<WireSides<T>> for Sides<T> {
    fn from(WireSides { buy, sell }: WireSides<T>) -> Self {
        Self { buy, sell }
    }
}

/// How long ago a feed vouched for a price, and until when that counts, in whole milliseconds. Ages are rounded up:
/// nothing gets younger on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Freshness {
    #[serde(rename = "feedAgeMs")]
    feed_age: u64,
    #[serde(rename = "staleAfterMs")]
    stale_after: u64,
    #[serde(rename = "deadAfterMs")]
    dead_after: u64,
}

impl Freshness {
    fn new(feed_age: Duration, limits: Limits) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self {
            feed_age: millis(feed_age),
            stale_after: millis(limits.stale_after),
            dead_after: millis(limits.dead_after),
        }
    }

    fn limits(self) -> Result<Limits, Invalid> {
        let [stale_after, dead_after] = [self.stale_after, self.dead_after].map(Duration::from_millis);
        if stale_after > dead_after {
            return Err(Invalid::new(&self.stale_after.to_string(), "a staleAfterMs of at most deadAfterMs"));
        }
        Ok(Limits { stale_after, dead_after })
    }

    /// The moment here at which the feed vouched.
    fn confirmed_at(self, arrival: Arrival, travelled: Duration) -> Result<Instant, Invalid> {
        let age = Duration::from_millis(self.feed_age).saturating_add(travelled);
        // Nothing is known of the time before the clock's start; whatever is that old is no use anyway.
        arrival.at.checked_sub(age).ok_or_else(|| Invalid::new(&self.feed_age.to_string(), "the age of a live feed"))
    }
}
