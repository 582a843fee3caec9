use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ratebus_sdk::{
    PairSettings, PriceMethod,
    model::{Market, Method, Order, Rate, RateKind, SourceName, Status, Verdict, Version, median},
};

use super::{Decided, MarketPrice};
use crate::desk::Dropped;

/// From how many sources on a median tells which of them is wrong.
const ENOUGH_TO_JUDGE: usize = 3;

/// What the sources say of one pair, and which of them are believed.
pub(crate) struct Feeds {
    pub(super) rules: Rules,
    pub(super) all: Vec<Feed>,
    /// How far each source is, one that serves the pair no more too.
    orders: BTreeMap<SourceName, Order>,
    /// Whose price was the last one, if it was one source's.
    pub(super) current: Option<SourceName>,
}

/// What the config says of a pair's sources.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The preferred one first; any may price the pair if there is none.
    pub(super) order: Vec<SourceName>,
    pub(super) method: PriceMethod,
    pub(super) quorum: usize,
    pub(super) max_deviation_bps: Option<u32>,
    pub(super) max_disagreement_bps: Option<u32>,
    pub(super) return_after: Duration,
}

/// What one source says.
pub(super) struct Feed {
    pub(super) price: MarketPrice,
    standing: Standing,
    pub(super) verdict: Verdict,
}

/// How a source has done so far. A good one is fresh and no outlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// It is good again since then.
    Returned(Instant),
    /// It has not been good since then.
    Bad(Instant),
}

impl Feeds {
    pub(crate) fn new(settings: &PairSettings) -> Self {
        let rules = Rules {
            order: settings.sources.clone(),
            method: settings.price,
            quorum: settings.quorum.unwrap_or(PairSettings::QUORUM),
            max_deviation_bps: settings.max_deviation_bps,
            max_disagreement_bps: settings.max_disagreement_bps,
            return_after: settings.return_after.unwrap_or(PairSettings::RETURN_AFTER),
        };
        Self { rules, all: Vec::new(), orders: BTreeMap::new(), current: None }
    }

    /// Takes a rate of this pair.
    pub(crate) fn hear(&mut self, rate: &Rate, version: Version, now: Instant) -> Result<(), Dropped> {
        self.advance(rate.source, version)?;
        if let Some(feed) = self.all.iter_mut().find(|feed| feed.price.source == rate.source) {
            if feed.price.status(now) != Status::Fresh {
                // Nobody may have looked while it was silent.
                feed.note(false, now);
            }
            feed.price = MarketPrice::of(rate, Arc::clone(&feed.price.sources));
        } else {
            let price = MarketPrice::of(rate, [rate.source].into());
            self.all.push(Feed { price, standing: Standing::Good, verdict: Verdict::Spare });
        }
        Ok(())
    }

    /// A source serves the pair no more.
    pub(crate) fn lose(&mut self, source: SourceName, version: Version) -> Result<(), Dropped> {
        self.advance(source, version)?;
        self.all.retain(|feed| feed.price.source != source);
        self.current.take_if(|current| *current == source);
        Ok(())
    }

    /// Leaves out sources that are dead and do not serve the pair. Returns whether there were any.
    pub(crate) fn forget_dead(&mut self, serves: impl Fn(SourceName) -> bool, now: Instant) -> bool {
        let before = self.all.len();
        self.all.retain(|feed| feed.price.status(now) != Status::Dead || serves(feed.price.source));
        self.current.take_if(|current| self.all.iter().all(|feed| feed.price.source != *current));
        self.all.len() < before
    }

    /// Whether no source serves the pair.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn advance(&mut self, source: SourceName, version: Version) -> Result<(), Dropped> {
        match self.orders.entry(source) {
            Entry::Occupied(order) => order.into_mut().advance(version)?,
            Entry::Vacant(place) => _ = place.insert(Order::starting_with(version)),
        }
        Ok(())
    }

    /// The market's price now, or why there is none that may be believed. `None` without a rate.
    pub(crate) fn decide(&mut self, now: Instant) -> Decided {
        self.judge(now);
        match self.rules.method {
            PriceMethod::First => self.first(now),
            PriceMethod::Median => (!self.all.is_empty()).then(|| self.median(now)),
        }
    }

    /// When time alone may change what [`Feeds::decide`] answers.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let moments = self.all.iter().flat_map(|feed| [feed.price.next_change(now), self.end_of_standing(feed)]);
        moments.flatten().filter(|&moment| moment > now).min()
    }

    /// How several prices become one.
    pub(crate) fn method(&self) -> Method {
        match self.rules.method {
            PriceMethod::First => Method::First,
            PriceMethod::Median => Method::Median,
        }
    }

    /// Each source and what became of its price.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (&MarketPrice, Verdict)> {
        self.all.iter().map(|feed| (&feed.price, feed.verdict))
    }

    /// How many sources are too far from the others to be believed.
    pub(crate) fn too_far(&self) -> usize {
        let is_too_far = |feed: &&Feed| matches!(feed.verdict, Verdict::Outlier | Verdict::Disagreement);
        self.all.iter().filter(is_too_far).count()
    }

    /// Whether a source has been good for long enough to be preferred to one that is used.
    pub(super) fn is_seasoned(&self, feed: &Feed, now: Instant) -> bool {
        match feed.standing {
            Standing::Good => true,
            Standing::Returned(since) => now >= since + self.rules.return_after,
            Standing::Bad(_) => false,
        }
    }

    /// Whether a price that is no longer fresh still contradicts others: for as long as it may be shown.
    pub(super) fn still_counts(feed: &Feed, now: Instant) -> bool {
        feed.price.status(now) != Status::Dead && feed.end_of_say().is_none_or(|end| now < end)
    }

    /// The source's place in the config's order.
    pub(super) fn place(&self, feed: &Feed) -> Option<usize> {
        self.rules.order.iter().position(|&listed| listed == feed.price.source)
    }

    fn end_of_standing(&self, feed: &Feed) -> Option<Instant> {
        match feed.standing {
            Standing::Returned(since) => Some(since + self.rules.return_after),
            _ => feed.end_of_say(),
        }
    }

    /// Says of each source what is to be said of it alone and among all, and keeps its record.
    fn judge(&mut self, now: Instant) {
        for feed in &mut self.all {
            feed.verdict = match (feed.price.status(now), feed.price.market) {
                (Status::Fresh, _) => Verdict::Spare,
                (Status::Dead, _) => Verdict::Dead,
                (Status::Stale, Market::Online) => Verdict::Stale,
                (Status::Stale, _) => Verdict::MarketNotTrading,
            };
        }
        if let Some(bps) = self.rules.max_deviation_bps {
            self.find_outliers(RateKind::TwoSided, bps);
            self.find_outliers(RateKind::Reference, bps);
        }
        for feed in &mut self.all {
            feed.note(feed.verdict == Verdict::Spare, now);
        }
    }

    fn find_outliers(&mut self, kind: RateKind, bps: u32) {
        let fresh = |feed: &Feed| feed.verdict == Verdict::Spare && feed.price.kind == kind;
        let prices: Vec<_> = self.all.iter().filter(|feed| fresh(feed)).map(|feed| feed.price.sides).collect();
        if prices.len() < ENOUGH_TO_JUDGE {
            return;
        }
        let Some(median) = median::of(&prices) else { return };
        for feed in self.all.iter_mut().filter(|feed| fresh(feed)) {
            if median::is_apart(feed.price.sides, median, bps) {
                feed.verdict = Verdict::Outlier;
            }
        }
    }
}

/// Each source and what became of its price, for the log.
impl fmt::Display for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (price, verdict)) in self.verdicts().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {}", price.source, verdict.as_str())?;
        }
        Ok(())
    }
}

impl Feed {
    fn note(&mut self, is_good: bool, now: Instant) {
        self.standing = match (is_good, self.standing) {
            (true, Standing::Bad(_)) => Standing::Returned(now),
            (false, Standing::Good | Standing::Returned(_)) => Standing::Bad(now),
            (_, unchanged) => unchanged,
        };
    }

    /// Until when a price that is not good any more contradicts others: one whose market stands still is never dead.
    fn end_of_say(&self) -> Option<Instant> {
        let Standing::Bad(since) = self.standing else { return None };
        let limits = self.price.limits;
        Some(since + limits.dead_after.saturating_sub(limits.stale_after))
    }
}
