//! Values over the boundary, for both of its sides: each list of codes stands here once.

use std::time::{Duration, Instant};

use ratebus_abi::{self as abi, Text, end, flag, health, market, pair, status};
use ratebus_model::{
    Epoch, Limits, Market, Pair, PairState, Price, Rate, RateValue, SourceName, Timestamp, Version, decimal::Decimal,
};

use crate::{ErrorKind, HealthState};

/// The longest text that is taken over.
const LONGEST: usize = 1024;

const MARKETS: [(u32, Market); 4] = [
    (market::ONLINE, Market::Online),
    (market::NOT_MATCHING, Market::NotMatching),
    (market::MAINTENANCE, Market::Maintenance),
    (market::UNKNOWN, Market::Unknown),
];

const ENDS: [(u32, ErrorKind); 7] = [
    (end::CONFIG, ErrorKind::Config),
    (end::CONNECT, ErrorKind::Connect),
    (end::PROTOCOL, ErrorKind::Protocol),
    (end::AUTH, ErrorKind::Auth),
    (end::RATE_LIMITED, ErrorKind::RateLimited),
    (end::STALLED, ErrorKind::Stalled),
    (end::INTERNAL, ErrorKind::Internal),
];

/// A market's state.
pub fn market(code: u32) -> Option<Market> {
    MARKETS.into_iter().find(|(known, _)| *known == code).map(|(_, market)| market)
}

fn market_code(market: Market) -> u32 {
    MARKETS.into_iter().find(|(_, known)| *known == market).map_or(market::UNKNOWN, |(code, _)| code)
}

/// What an instance failed with.
pub fn error_kind(code: u32) -> Option<ErrorKind> {
    ENDS.into_iter().find(|(known, _)| *known == code).map(|(_, kind)| kind)
}

/// The code of what an instance failed with.
pub fn error_code(kind: ErrorKind) -> u32 {
    ENDS.into_iter().find(|(_, known)| *known == kind).map_or(end::INTERNAL, |(code, _)| code)
}

/// How a component is.
pub fn health(code: u32, reason: String) -> Option<HealthState> {
    Some(match code {
        health::STARTING => HealthState::Starting,
        health::READY => HealthState::Ready,
        health::DEGRADED => HealthState::Degraded(reason),
        health::NOT_READY => HealthState::NotReady(reason),
        _ => return None,
    })
}

/// The code of how a component is. That it ended is said otherwise.
pub fn health_code(state: &HealthState) -> u32 {
    match state {
        HealthState::Starting => health::STARTING,
        HealthState::Ready | HealthState::Finished => health::READY,
        HealthState::Degraded(_) => health::DEGRADED,
        HealthState::NotReady(_) | HealthState::Failed(_) => health::NOT_READY,
    }
}

/// How a pair's subscription stands.
pub fn pair_state(code: u32, reason: String) -> Option<PairState> {
    Some(match code {
        pair::PENDING => PairState::Pending,
        pair::SUBSCRIBED => PairState::Subscribed,
        pair::REFUSED => PairState::Refused(reason),
        _ => return None,
    })
}

/// The code of how a pair's subscription stands, and why.
pub fn pair_code(state: &PairState) -> (u32, &str) {
    match state {
        PairState::Pending => (pair::PENDING, ""),
        PairState::Subscribed => (pair::SUBSCRIBED, ""),
        PairState::Refused(reason) => (pair::REFUSED, reason),
    }
}

/// A number that a [`Decimal`] cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHeld;

/// A price; a mantissa of zero is none.
pub fn decimal(given: abi::Decimal) -> Result<Option<Decimal>, NotHeld> {
    let mantissa = i128::from(given.mantissa) | i128::from(given.mantissa_high) << 64;
    match mantissa {
        0 => Ok(None),
        _ => Decimal::try_from_i128_with_scale(mantissa, given.scale).map(Some).map_err(|_| NotHeld),
    }
}

fn decimal_out(price: Price) -> abi::Decimal {
    let mantissa = price.value().mantissa().unsigned_abs();
    let low = u64::try_from(mantissa & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    // 96 bits in all.
    let high = u32::try_from(mantissa >> 64).unwrap_or(u32::MAX);
    abi::Decimal { mantissa: low, mantissa_high: high, scale: price.scale() }
}

/// When a price is stale and dead; `None` if that is no order.
pub fn limits(stale_after_ms: u32, dead_after_ms: u32) -> Option<Limits> {
    let millis = |given: u32, usual: Duration| if given == 0 { usual } else { Duration::from_millis(given.into()) };
    let stale_after = millis(stale_after_ms, Limits::STREAM.stale_after);
    let dead_after = millis(dead_after_ms, Limits::STREAM.dead_after);
    (stale_after <= dead_after).then_some(Limits { stale_after, dead_after })
}

/// A time that may be missing.
pub fn event_time(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

/// Calls `use_it` with `rate` as it crosses the boundary at `now`.
pub fn with_rate<R>(rate: &Rate, now: Instant, use_it: impl FnOnce(&abi::Rate) -> R) -> R {
    let micros = |span: Duration| u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    let pair = rate.pair.to_string();
    let (flags, bid, ask) = match rate.value {
        RateValue::TwoSided { bid, ask } => (0, decimal_out(bid), decimal_out(ask)),
        RateValue::Reference { price } => (flag::REFERENCE, decimal_out(price), abi::Decimal::default()),
    };
    use_it(&abi::Rate {
        size: abi::size_of::<abi::Rate>(),
        flags: flags | flag::SNAPSHOT,
        source: Text::new(rate.source.as_str()),
        pair: Text::new(&pair),
        bid,
        ask,
        event_micros: rate.event_time.map_or(0, Timestamp::micros),
        received_micros: rate.recv_time.micros(),
        age_micros: micros(rate.feed_age(now)),
        sequence: rate.version.sequence,
        epoch: rate.version.epoch.number(),
        stale_after_ms: millis(rate.limits.stale_after).max(1),
        dead_after_ms: millis(rate.limits.dead_after).max(1),
        market: market_code(rate.market),
        reserved: 0,
    })
}

/// The rate at `at`, if it is one.
///
/// # Safety
/// It is null, or an [`abi::Rate`] can be read there, as its size says.
#[expect(unsafe_code, reason = "memory of the other side")]
pub unsafe fn read_rate(at: *const abi::Rate) -> Option<abi::Rate> {
    if at.is_null() {
        return None;
    }
    // SAFETY: every rate begins with its size.
    let size = unsafe { (&raw const (*at).size).read_unaligned() };
    // SAFETY: then it is as long as that.
    (size >= abi::size_of::<abi::Rate>()).then(|| unsafe { at.read_unaligned() })
}

/// A rate that was delivered, at `now`.
///
/// # Safety
/// The texts of `given` can be read.
#[expect(unsafe_code, reason = "texts of the other side")]
pub unsafe fn delivered(given: &abi::Rate, now: Instant) -> Option<Rate> {
    let (bid, ask) = (decimal(given.bid).ok()?, decimal(given.ask).ok()?);
    let value = if given.flags & flag::REFERENCE != 0 {
        RateValue::Reference { price: Price::new(bid?)? }
    } else {
        RateValue::TwoSided { bid: Price::new(bid?)?, ask: Price::new(ask?)? }
    };
    Some(Rate {
        // SAFETY: the caller's promise.
        source: unsafe { text(given.source) }?.parse::<SourceName>().ok()?,
        // SAFETY: as above.
        pair: unsafe { text(given.pair) }?.parse::<Pair>().ok()?,
        value,
        market: market(given.market)?,
        event_time: event_time(given.event_micros),
        recv_time: Timestamp::from_micros(given.received_micros),
        confirmed_at: now.checked_sub(Duration::from_micros(given.age_micros))?,
        limits: limits(given.stale_after_ms, given.dead_after_ms)?,
        version: Version { epoch: Epoch::new(given.epoch), sequence: given.sequence },
    })
}

/// A text of the other side: cut, and without control characters, since it goes into logs.
///
/// # Safety
/// As of [`Text::read`].
#[expect(unsafe_code, reason = "memory of the other side")]
pub unsafe fn text(given: Text) -> Option<String> {
    // SAFETY: the caller's promise.
    let text = unsafe { given.read() }.ok()?;
    let cut = &text[..text.floor_char_boundary(LONGEST)];
    Some(cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// What a panic of `call` becomes.
pub fn guarded(call: impl FnOnce() -> i32) -> i32 {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_or(status::PANICKED)
}
