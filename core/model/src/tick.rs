use std::time::Instant;

use crate::{Pair, Timestamp};

/// What one frame of an exchange said about one pair, before anything is believed.
///
/// Prices are the exchange's own text: [`Fold`](crate::Fold) reads them and refuses what is no price, so that every
/// source is held to one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick<'a> {
    /// The pair, in our name for it.
    pub pair: Pair,
    /// The price somebody pays, as sent. `None` where the frame does not speak of it.
    pub bid: Option<&'a str>,
    /// The price somebody asks, as sent.
    pub ask: Option<&'a str>,
    /// One price without sides (`CoinMarketCap`), as sent. Excludes `bid` and `ask`.
    pub reference: Option<&'a str>,
    /// The exchange's own time of the event.
    pub event_time: Option<Timestamp>,
    /// Whether the frame is a full picture sent at subscription: it replaces what was known, and its event time may lie
    /// far back on a quiet market.
    pub snapshot: bool,
}

/// When a frame arrived, by both clocks: the wall clock for people, the monotonic one for ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// By the wall clock.
    pub time: Timestamp,
    /// By the monotonic clock.
    pub at: Instant,
}
