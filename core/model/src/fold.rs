use std::time::{Duration, Instant};

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
/// just said that it no longer holds. What it said of each side is remembered, so that a later frame about the other
/// side alone is not completed with a price that is gone.
#[derive(Debug)]
pub struct Fold {
    source: SourceName,
    pair: Pair,
    limits: FoldLimits,
    next_version: Version,
    rate: Option<Rate>,
    market: Market,
    told: Told,
    newest_event: Option<Timestamp>,
    /// Whether a heartbeat may keep the rate fresh.
    vouched: bool,
    suspect: Option<Suspect>,
}

/// What the feed last said of each side, believed or not; `None` where that was no price or nothing yet.
#[derive(Debug, Default)]
struct Told {
    bid: Option<Price>,
    ask: Option<Price>,
}

/// A price beyond the jump limit, waiting for others that agree.
#[derive(Debug)]
struct Suspect {
    value: RateValue,
    event_time: Option<Timestamp>,
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
            told: Told::default(),
            newest_event: None,
            vouched: false,
            suspect: None,
        }
    }

    /// What it is held to.
    pub fn limits(&self) -> FoldLimits {
        self.limits
    }

    /// Holds it to other limits, from the next tick on.
    pub fn set_limits(&mut self, limits: FoldLimits) {
        self.limits = limits;
    }

    /// The last good rate.
    pub fn rate(&self) -> Option<&Rate> {
        self.rate.as_ref()
    }

    /// Takes a tick of this pair. The rate returned has a new version if the price or the market state changed, and
    /// the old one if the tick only said the same again.
    pub fn apply(&mut self, tick: &Tick<'_>, arrival: Arrival) -> Result<&Rate, Refusal> {
        let event_time = self.event_time(tick, arrival);
        // An update is as old as its own time says (a relay catching up, a polled source); a snapshot is the exchange's
        // word of now, however long ago a quiet market last moved.
        let lag = event_time.filter(|_| !tick.snapshot).map_or(Duration::ZERO, |at| at.age_at(arrival.time));
        self.apply_aged(tick, arrival, lag)
    }

    /// As [`Fold::apply`], for a relay that says how long ago its own feed vouched for the price: the rate is as old as
    /// that, whatever the exchange's time.
    pub fn apply_aged(&mut self, tick: &Tick<'_>, arrival: Arrival, lag: Duration) -> Result<&Rate, Refusal> {
        let event_time = self.event_time(tick, arrival);
        if !tick.snapshot && event_time.is_some() && event_time < self.newest_event {
            return Err(Refusal::Older);
        }
        self.newest_event = if tick.snapshot { event_time } else { event_time.or(self.newest_event) };
        self.vouched = false;
        let value = self.read(tick)?;
        self.believe(value, event_time)?;
        // `None`: from before the monotonic clock began.
        let confirmed_at = arrival.at.checked_sub(lag).ok_or(Refusal::Older)?;
        self.vouched = lag <= self.limits.freshness.stale_after;
        Ok(self.settle(value, event_time, arrival.time, confirmed_at))
    }

    fn event_time(&self, tick: &Tick<'_>, arrival: Arrival) -> Option<Timestamp> {
        tick.event_time.filter(|&at| self.is_plausible(at, arrival.time))
    }

    /// Whether `at` can be the time of an event that arrived at `now`. Never-traded pairs carry 1970; a time from the
    /// future, once believed, would make every later tick look old.
    fn is_plausible(&self, at: Timestamp, now: Timestamp) -> bool {
        at.micros() > 0 && at <= now.plus(self.limits.freshness.stale_after)
    }

    fn settle(
        &mut self,
        value: RateValue,
        event_time: Option<Timestamp>,
        recv_time: Timestamp,
        confirmed_at: Instant,
    ) -> &Rate {
        let changed = self.rate.as_ref().is_none_or(|rate| rate.value != value || rate.market != self.market);
        let (value, event_time, recv_time, version) = match &self.rate {
            Some(rate) if !changed => (rate.value, rate.event_time, rate.recv_time, rate.version),
            _ => (value, event_time, recv_time, self.take_version()),
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

    /// A relay says that the price has not been vouched for since `at`. Returns the rate if it seemed fresher than that.
    pub fn lapse(&mut self, at: Instant) -> Option<&Rate> {
        self.vouched = false;
        let rate = self.rate.as_mut().filter(|rate| rate.confirmed_at > at)?;
        rate.confirmed_at = at;
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

    /// The subscription or the connection is gone: heartbeats no longer count until the next good tick, which must tell
    /// both sides.
    pub fn doubt(&mut self) {
        self.vouched = false;
        self.told = Told::default();
        self.suspect = None;
    }

    fn take_version(&mut self) -> Version {
        let version = self.next_version;
        self.next_version = version.next();
        version
    }

    /// The complete value that the feed's words amount to.
    fn read(&mut self, tick: &Tick<'_>) -> Result<RateValue, Refusal> {
        if let Some(reference) = tick.reference {
            return read_price(reference).map(|price| RateValue::Reference { price });
        }
        if tick.snapshot {
            self.told = Told::default();
        }
        let bid = hear(&mut self.told.bid, tick.bid);
        let ask = hear(&mut self.told.ask, tick.ask);
        bid.and(ask)?;
        match (self.told.bid, self.told.ask) {
            (Some(bid), Some(ask)) if bid <= ask => Ok(RateValue::TwoSided { bid, ask }),
            (Some(_), Some(_)) => Err(Refusal::Crossed),
            _ => Err(Refusal::OneSided),
        }
    }

    /// Holds back a price beyond the jump limit until enough ticks agree; a frame that is merely sent again is no second
    /// witness.
    fn believe(&mut self, value: RateValue, event_time: Option<Timestamp>) -> Result<(), Refusal> {
        let (Some(percent), Some(last)) = (self.limits.max_jump_percent, &self.rate) else { return Ok(()) };
        let suspect = self.suspect.take();
        if within(last.value, value, percent) {
            return Ok(());
        }
        let ticks = match suspect {
            Some(before) if within(before.value, value, percent) => {
                let repeated = event_time.is_some() && event_time == before.event_time && value == before.value;
                before.ticks + u32::from(!repeated)
            }
            _ => 1,
        };
        if ticks >= self.limits.agreeing_ticks {
            return Ok(());
        }
        self.suspect = Some(Suspect { value, event_time, ticks });
        Err(Refusal::Jump)
    }
}

/// Takes what a frame says of a side; silence changes nothing.
fn hear(side: &mut Option<Price>, text: Option<&str>) -> Result<(), Refusal> {
    let Some(text) = text else { return Ok(()) };
    let price = read_price(text);
    *side = price.ok();
    price.map(drop)
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
