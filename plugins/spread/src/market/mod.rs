//! From what the sources say to the one price of the market. No tasks and no clock of its own.

pub(crate) mod cross;
mod feeds;
mod first;
mod median;
mod step;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ratebus_sdk::model::{Limits, Market, Price, Rate, RateKind, Sides, SourceName, Status, Timestamp, Withheld};

pub(crate) use feeds::Feeds;
pub(crate) use step::Step;

/// The market's price of a pair, or why there is none that may be believed; `None` if nothing gives one.
pub(crate) type Decided = Option<Result<MarketPrice, Withheld>>;

/// The market's price of a pair, from one source or from several.
#[derive(Debug, Clone)]
pub(crate) struct MarketPrice {
    /// What a customer would buy and sell at without a spread: ask and bid.
    pub(crate) sides: Sides<Price>,
    pub(crate) kind: RateKind,
    /// Whose it is, or how it is made of several.
    pub(crate) source: SourceName,
    /// All whose it is, without repetition.
    pub(crate) sources: Arc<[SourceName]>,
    pub(crate) market: Market,
    /// As everything below, but for `newest`, that of the oldest of several.
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) recv_time: Timestamp,
    pub(crate) confirmed_at: Instant,
    pub(crate) limits: Limits,
    /// When the newest of several arrived.
    pub(crate) newest: Timestamp,
}

impl MarketPrice {
    fn of(rate: &Rate, sources: Arc<[SourceName]>) -> Self {
        Self {
            sides: rate.value.sides(),
            kind: rate.value.kind(),
            source: rate.source,
            sources,
            market: rate.market,
            event_time: rate.event_time,
            recv_time: rate.recv_time,
            confirmed_at: rate.confirmed_at,
            limits: rate.limits,
            newest: rate.recv_time,
        }
    }

    /// `sides`, made of `parts` and called `source`. It is as old as the oldest of them, and stale and dead as soon as one of
    /// them is. `None` without parts.
    fn made_of(parts: &[&Self], sides: Sides<Price>, source: &str) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let source = source.parse().ok()?;
        let mut made = Self { sides, source, ..Self::clone(first) };
        let mut sources = first.sources.to_vec();
        for part in rest {
            made.add(part);
            sources.extend(part.sources.iter().filter(|source| !sources.contains(source)).copied().collect::<Vec<_>>());
        }
        made.sources = sources.into();
        Some(made)
    }

    fn add(&mut self, part: &Self) {
        let ends = |price: &Self, span: fn(&Limits) -> Duration| price.confirmed_at + span(&price.limits);
        let stale_at = ends(self, |limits| limits.stale_after).min(ends(part, |limits| limits.stale_after));
        let dead_at = ends(self, |limits| limits.dead_after).min(ends(part, |limits| limits.dead_after));
        self.confirmed_at = self.confirmed_at.min(part.confirmed_at);
        self.limits = Limits { stale_after: stale_at - self.confirmed_at, dead_after: dead_at - self.confirmed_at };
        if part.kind == RateKind::Reference {
            self.kind = part.kind;
        }
        if part.market.best_status() > self.market.best_status() {
            self.market = part.market;
        }
        self.event_time = [self.event_time, part.event_time].into_iter().flatten().min();
        self.recv_time = self.recv_time.min(part.recv_time);
        self.newest = self.newest.max(part.newest);
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.confirmed_at)
    }

    pub(crate) fn status(&self, now: Instant) -> Status {
        self.limits.status(self.age(now)).max(self.market.best_status())
    }

    /// When time alone changes its status next.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        self.limits.next_change(self.confirmed_at, now)
    }
}
