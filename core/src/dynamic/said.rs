//! What a library says, as values of ours: checked, and copied out of its memory.

use std::time::Duration;

use ratebus_abi::{self as abi, event, flag};
use ratebus_model::{Limits, Market, Pair, PairState, Timestamp, decimal::Decimal};
use ratebus_sdk::export::convert::{decimal, event_time, limits, market, pair_state, read_rate, text};

/// One event of a source.
#[derive(Debug)]
pub(super) enum Said {
    /// What a frame said of a pair.
    Tick(Spoken),
    /// A rate that was judged already.
    Rate(Spoken),
    Heartbeat,
    Pair(Pair, PairState),
    Market(Market),
    Disconnected,
    /// Every pair was told of.
    AllPairs,
}

/// What is said of one pair.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) pair: Pair,
    pub(super) bid: Option<Decimal>,
    pub(super) ask: Option<Decimal>,
    /// Instead of both.
    pub(super) reference: Option<Decimal>,
    pub(super) event_time: Option<Timestamp>,
    pub(super) snapshot: bool,
    pub(super) age: Duration,
    pub(super) limits: Limits,
    pub(super) market: Market,
}

impl Said {
    /// The event at `at`; `None` if it is none.
    ///
    /// # Safety
    /// An [`abi::Event`] can be read there, as its size says, and what it points to.
    #[expect(unsafe_code, reason = "memory of a library")]
    pub(super) unsafe fn read(at: *const abi::Event) -> Option<Self> {
        // SAFETY: every event begins with its size.
        let size = unsafe { (&raw const (*at).size).read_unaligned() };
        if size < abi::size_of::<abi::Event>() {
            return None;
        }
        // SAFETY: it is as long as that.
        let event = unsafe { at.read_unaligned() };
        // SAFETY: rates and texts of an event can be read as it says.
        unsafe {
            Some(match event.kind {
                event::TICK => Self::Tick(Spoken::read(event.rate)?),
                event::RATE => Self::Rate(Spoken::read(event.rate)?),
                event::HEARTBEAT => Self::Heartbeat,
                event::PAIR => {
                    Self::Pair(text(event.pair)?.parse().ok()?, pair_state(event.state, text(event.reason)?)?)
                }
                event::MARKET => Self::Market(market(event.state)?),
                event::DISCONNECTED => Self::Disconnected,
                event::ALL_PAIRS => Self::AllPairs,
                _ => return None,
            })
        }
    }
}

impl Spoken {
    #[expect(unsafe_code, reason = "memory of a library")]
    unsafe fn read(at: *const abi::Rate) -> Option<Self> {
        // SAFETY: the caller's promise.
        let rate = unsafe { read_rate(at) }?;
        let (bid, ask) = (decimal(rate.bid).ok()?, decimal(rate.ask).ok()?);
        let is_reference = rate.flags & flag::REFERENCE != 0;
        Some(Self {
            // SAFETY: the texts of a rate can be read.
            pair: unsafe { text(rate.pair) }?.parse().ok()?,
            bid: bid.filter(|_| !is_reference),
            ask: ask.filter(|_| !is_reference),
            reference: bid.filter(|_| is_reference),
            event_time: event_time(rate.event_micros),
            snapshot: rate.flags & flag::SNAPSHOT != 0,
            age: Duration::from_micros(rate.age_micros),
            limits: limits(rate.stale_after_ms, rate.dead_after_ms)?,
            market: market(rate.market)?,
        })
    }
}
