use std::time::Instant;

use ethnum::I256;

use crate::{
    Arrival, Epoch, Limits, Market, Pair, Price, Rate, RateValue, SourceName, Tick, Timestamp, Version, decimal,
};

/// What a [`Fold`] holds its source to.
#[derive(Debug, Clone, Copy)]
pub struct FoldLimits {
    /// When a price becomes stale and dead.
    pub freshness: Limits,
    /// The furthest a price may move in one tick, in percent of the last good one. `None` lets everything pass.
    pub max_jump_percent: Option<u32>,
    /// How many ticks in a row must agree on a price beyond the jump limit before it is believed.
    pub agreeing_ticks: u32,
}

impl FoldLimits {
    /// A jump of 20 percent needs 3 agreeing ticks.
    pub const fn new(freshness: Limits) -> Self {
        Self { freshness, max_jump_percent: Some(20), agreeing_ticks: 3 }
    }
}

/// Why a tick did not become a rate. The last good rate stays and ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A side is zero: the exchange's way to say that this side of the book is empty.
    #[error("a side of the book is empty")]
    EmptySide,
    /// A side is not a positive decimal number that can be held exactly.
    #[error("not a price")]
    NotAPrice,
    /// Only one side is known.
    #[error("only one side is known")]
    OneSided,
    /// The bid is above the ask.
    #[error("crossed: the bid is above the ask")]
    Crossed,
    /// The exchange's time is before that of the rate we have: late or out of order.
    #[error("older than the rate we have")]
    Older,
    /// Further from the last good price than one tick may move; held back until enough ticks agree.
    #[error("too far from the last good price")]
    Jump,
}

impl Refusal {
    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmptySide => "empty_side",
            Self::NotAPrice => "not_a_price",
            Self::OneSided => "one_sided",
            Self::Crossed => "crossed",
            Self::Older => "older",
            Self::Jump => "jump",
        }
    }
}

/// The state of one pair at one source: takes ticks, keeps the last good [`Rate`], and decides whether the feed still
/// vouches for it.
///
/// A refused tick leaves the last good rate in place but stops heartbeats from keeping it fresh, because the feed has
/// just said that it no longer holds.
#[derive(Debug)]
pub struct Fold {
    source: SourceName,
    pair: Pair,
    limits: FoldLimits,
    next_version: Version,
    rate: Option<Rate>,
    market: Market,
    newest_event: Option<Timestamp>,
    /// Whether a heartbeat may keep the rate fresh.
    vouched: bool,
    suspect: Option<Suspect>,
}

/// A price beyond the jump limit, waiting for others that agree.
#[derive(Debug)]
struct Suspect {
    value: RateValue,
    ticks: u32,
}

impl Fold {
    /// An empty state: no rate until the first good tick.
    pub fn new(source: SourceName, pair: Pair, epoch: Epoch, limits: FoldLimits) -> Self {
        Self {
            source,
            pair,
            limits,
            next_version: Version::first(epoch),
            rate: None,
            market: Market::default(),
            newest_event: None,
            vouched: false,
            suspect: None,
        }
    }

    /// The last good rate.
    pub fn rate(&self) -> Option<&Rate> {
        self.rate.as_ref()
    }

    /// Takes a tick of this pair. The rate returned has a new version if the price or the market state changed, and
    /// the old one if the tick only said the same again.
    pub fn apply(&mut self, tick: &Tick<'_>, arrival: Arrival) -> Result<&Rate, Refusal> {
        if !tick.snapshot && tick.event_time < self.newest_event && tick.event_time.is_some() {
            return Err(Refusal::Older);
        }
        let value = match self.believe(tick) {
            Ok(value) => value,
            Err(refusal) => {
                self.vouched = false;
                return Err(refusal);
            }
        };
        self.newest_event = if tick.snapshot { tick.event_time } else { tick.event_time.max(self.newest_event) };
        // A frame that is itself old (a relay catching up, a stuck engine) is worth what its own time says; a snapshot
        // may be of any age on a quiet market, and never-traded pairs carry 1970.
        let lag = match tick.event_time {
            Some(at) if !tick.snapshot && at.micros() > 0 => at.age_at(arrival.time),
            _ => std::time::Duration::ZERO,
        };
        self.vouched = lag <= self.limits.freshness.stale_after;
        let confirmed_at = if self.vouched { arrival.at } else { arrival.at.checked_sub(lag).unwrap_or(arrival.at) };
        Ok(self.settle(value, tick.event_time, arrival.time, confirmed_at))
    }

    fn settle(
        &mut self,
        value: RateValue,
        event_time: Option<Timestamp>,
        recv_time: Timestamp,
        confirmed_at: Instant,
    ) -> &Rate {
        let changed = self.rate.as_ref().is_none_or(|rate| rate.value != value || rate.market != self.market);
        let (event_time, recv_time, version) = match &self.rate {
            Some(rate) if !changed => (rate.event_time, rate.recv_time, rate.version),
            _ => (event_time, recv_time, self.take_version()),
        };
        self.rate.insert(Rate {
            source: self.source,
            pair: self.pair,
            value,
            market: self.market,
            event_time,
            recv_time,
            confirmed_at,
            limits: self.limits.freshness,
            version,
        })
    }

    /// A heartbeat: the feed is alive and this pair's subscription is acknowledged. Returns the rate, fresher than
    /// before, unless there is none or the last tick was refused or itself old.
    pub fn confirm(&mut self, now: Instant) -> Option<&Rate> {
        let rate = self.rate.as_mut().filter(|_| self.vouched)?;
        rate.confirmed_at = rate.confirmed_at.max(now);
        Some(rate)
    }

    /// The exchange changed the state of its market, until it says otherwise. Returns the rate if that changed it.
    pub fn set_market(&mut self, market: Market) -> Option<&Rate> {
        self.market = market;
        if self.rate.as_ref()?.market == market {
            return None;
        }
        let version = self.take_version();
        let rate = self.rate.as_mut()?;
        rate.market = market;
        rate.version = version;
        Some(rate)
    }

    /// The subscription or the connection is gone: heartbeats no longer count until the next good tick.
    pub fn doubt(&mut self) {
        self.vouched = false;
        self.suspect = None;
    }

    fn take_version(&mut self) -> Version {
        let version = self.next_version;
        self.next_version = version.next();
        version
    }

    fn believe(&mut self, tick: &Tick<'_>) -> Result<RateValue, Refusal> {
        let value = self.read(tick)?;
        let Some(percent) = self.limits.max_jump_percent else { return Ok(value) };
        let Some(last) = self.rate.as_ref().map(|rate| rate.value) else { return Ok(value) };
        if within(last, value, percent) {
            self.suspect = None;
            return Ok(value);
        }
        let ticks = match &self.suspect {
            Some(suspect) if within(suspect.value, value, percent) => suspect.ticks + 1,
            _ => 1,
        };
        if ticks >= self.limits.agreeing_ticks {
            self.suspect = None;
            return Ok(value);
        }
        self.suspect = Some(Suspect { value, ticks });
        Err(Refusal::Jump)
    }

    fn read(&self, tick: &Tick<'_>) -> Result<RateValue, Refusal> {
        if let Some(reference) = tick.reference {
            return read_price(reference).map(|price| RateValue::Reference { price });
        }
        // A side the frame does not speak of is unchanged, except in a snapshot, which is all there is.
        let known = self.rate.as_ref().filter(|_| !tick.snapshot).and_then(|rate| match rate.value {
            RateValue::TwoSided { bid, ask } => Some((bid, ask)),
            RateValue::Reference { .. } => None,
        });
        let bid = tick.bid.map(read_price).transpose()?.or(known.map(|(bid, _)| bid)).ok_or(Refusal::OneSided)?;
        let ask = tick.ask.map(read_price).transpose()?.or(known.map(|(_, ask)| ask)).ok_or(Refusal::OneSided)?;
        if bid > ask {
            return Err(Refusal::Crossed);
        }
        Ok(RateValue::TwoSided { bid, ask })
    }
}

fn read_price(text: &str) -> Result<Price, Refusal> {
    let value = decimal::parse(text).map_err(|_| Refusal::NotAPrice)?;
    if value.is_zero() {
        return Err(Refusal::EmptySide);
    }
    Price::new(value).ok_or(Refusal::NotAPrice)
}

/// Whether both sides of `new` are at most `percent` away from those of `old`.
fn within(old: RateValue, new: RateValue, percent: u32) -> bool {
    near(old.bid(), new.bid(), percent) && near(old.ask(), new.ask(), percent)
}

/// `|new - old| * 100 <= old * percent`, in integers.
fn near(old: Price, new: Price, percent: u32) -> bool {
    let ((old, old_scale), (new, new_scale)) = (decimal::parts(old.value()), decimal::parts(new.value()));
    let scale = old_scale.max(new_scale);
    let lift = |mantissa: I256, from: u32| decimal::pow10(scale - from).and_then(|power| mantissa.checked_mul(power));
    let (Some(old), Some(new)) = (lift(old, old_scale), lift(new, new_scale)) else { return false };
    (new - old).abs() * 100 <= old * I256::from(percent)
}
