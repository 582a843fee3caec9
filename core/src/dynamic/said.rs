//! What a library says, as values of ours: checked, and copied out of its memory.

use std::time::Duration;

use ratebus_abi::{self as abi, Text, event, flag, market, pair};
use ratebus_model::{Limits, Market, Pair, PairState, Timestamp, decimal::Decimal};

/// The longest text that is taken over.
const LONGEST: usize = 1024;

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
                event::PAIR => Self::Pair(text(event.pair)?.parse().ok()?, pair_state(event.state, event.reason)?),
                event::MARKET => Self::Market(market_of(event.state)?),
                event::DISCONNECTED => Self::Disconnected,
                _ => return None,
            })
        }
    }
}

impl Spoken {
    #[expect(unsafe_code, reason = "memory of a library")]
    unsafe fn read(at: *const abi::Rate) -> Option<Self> {
        if at.is_null() {
            return None;
        }
        // SAFETY: every rate begins with its size.
        let size = unsafe { (&raw const (*at).size).read_unaligned() };
        if size < abi::size_of::<abi::Rate>() {
            return None;
        }
        // SAFETY: it is as long as that.
        let rate = unsafe { at.read_unaligned() };
        let (bid, ask) = (decimal(rate.bid).ok()?, decimal(rate.ask).ok()?);
        let is_reference = rate.flags & flag::REFERENCE != 0;
        Some(Self {
            // SAFETY: the texts of a rate can be read.
            pair: unsafe { text(rate.pair) }?.parse().ok()?,
            bid: bid.filter(|_| !is_reference),
            ask: ask.filter(|_| !is_reference),
            reference: bid.filter(|_| is_reference),
            event_time: (rate.event_micros != 0).then(|| Timestamp::from_micros(rate.event_micros)),
            snapshot: rate.flags & flag::SNAPSHOT != 0,
            age: Duration::from_micros(rate.age_micros),
            limits: limits(rate.stale_after_ms, rate.dead_after_ms)?,
            market: market_of(rate.market)?,
        })
    }
}

/// No price where there is none.
///
/// # Errors
/// The number cannot be held.
fn decimal(given: abi::Decimal) -> Result<Option<Decimal>, NotHeld> {
    let mantissa = i128::from(given.mantissa) | i128::from(given.mantissa_high) << 64;
    match mantissa {
        0 => Ok(None),
        _ => Decimal::try_from_i128_with_scale(mantissa, given.scale).map(Some).map_err(|_| NotHeld),
    }
}

struct NotHeld;

fn limits(stale_after_ms: u32, dead_after_ms: u32) -> Option<Limits> {
    let millis = |given: u32, usual: Duration| if given == 0 { usual } else { Duration::from_millis(given.into()) };
    let stale_after = millis(stale_after_ms, Limits::STREAM.stale_after);
    let dead_after = millis(dead_after_ms, Limits::STREAM.dead_after);
    (stale_after <= dead_after).then_some(Limits { stale_after, dead_after })
}

fn market_of(state: u32) -> Option<Market> {
    Some(match state {
        market::ONLINE => Market::Online,
        market::NOT_MATCHING => Market::NotMatching,
        market::MAINTENANCE => Market::Maintenance,
        market::UNKNOWN => Market::Unknown,
        _ => return None,
    })
}

#[expect(unsafe_code, reason = "memory of a library")]
unsafe fn pair_state(state: u32, reason: Text) -> Option<PairState> {
    Some(match state {
        pair::PENDING => PairState::Pending,
        pair::SUBSCRIBED => PairState::Subscribed,
        // SAFETY: the texts of an event can be read.
        pair::REFUSED => PairState::Refused(unsafe { text(reason) }?),
        _ => return None,
    })
}

/// A text of a library: cut, and without control characters, since it goes into logs.
///
/// # Safety
/// As of [`Text::read`].
#[expect(unsafe_code, reason = "memory of a library")]
pub(super) unsafe fn text(given: Text) -> Option<String> {
    // SAFETY: the caller's promise.
    let text = unsafe { given.read() }.ok()?;
    let cut = &text[..text.floor_char_boundary(LONGEST)];
    Some(cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}
