//! Where rates become quotes. No tasks and no clock of its own: every moment comes in as an argument.

mod quoter;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use ratebus_sdk::{
    CompatReference, PairSettings, PairTable,
    model::{
        Arrival, Effective, Epoch, Explanation, Message, OutOfOrder, Pair, PairList, Quote, Rate, Rule, Scope,
        SourceName, Spread, SpreadTable, Status, Subject, Timestamp, Verdict, Withheld, cross::Leg,
    },
};

use self::quoter::Quoter;
use crate::market::Decided;

/// How many sources of a pair are remembered whose rates are not taken: a stranger on the bus may invent names.
const MOST_REFUSED: usize = 16;

/// What the config says of pricing.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The rule for pairs without a stored spread.
    pub(crate) default: Option<Rule>,
    /// Whether there are stored spreads to wait for.
    pub(crate) stored: bool,
    /// The `[pairs.*]` tables.
    pub(crate) pairs: Arc<PairTable>,
    /// The pairs that are made from others, each behind those it is made from.
    pub(crate) crosses: Vec<Pair>,
    /// What the spread is added to.
    pub(crate) reference: CompatReference,
}

/// A quote to be published.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) subject: Subject,
    /// `None`: nothing prices the pair any more.
    pub(crate) quote: Option<Arc<Quote>>,
    /// What is new about it; `None` if the feed only vouched again for the version published before.
    pub(crate) news: Option<News>,
}

/// What a new version of a quote brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News {
    /// When what it is made from arrived, if its sources sent something new.
    pub(crate) tick: Option<Timestamp>,
    /// It became fresh, stale or dead.
    pub(crate) status: bool,
}

/// Why a rate or a spread was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// What it speaks of is not what its subject names.
    Mislabelled,
    /// The config lists the pair's sources, and this is none of them.
    SourceNotAllowed,
    /// Its bid is above its ask.
    Crossed,
    /// One as new or newer was seen.
    NotNewer,
    /// Its publisher was followed by another.
    LeftEpoch,
}

impl From<OutOfOrder> for Dropped {
    fn from(why: OutOfOrder) -> Self {
        match why {
            OutOfOrder::NotNewer => Self::NotNewer,
            OutOfOrder::LeftEpoch => Self::LeftEpoch,
        }
    }
}

impl Dropped {
    /// The reason as a metric label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mislabelled => "mislabelled",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::Crossed => "crossed",
            Self::NotNewer => "not_newer",
            Self::LeftEpoch => "left_epoch",
        }
    }
}

/// All pairs, their rates and the spreads.
pub(crate) struct Desk {
    pairs: Arc<PairTable>,
    /// The pairs that are made from others, each behind those it is made from.
    crosses: Vec<Pair>,
    reference: CompatReference,
    epoch: Epoch,
    spreads: SpreadTable,
    /// Whether a spread that is missing is none.
    spreads_known: bool,
    quoters: BTreeMap<Pair, Quoter>,
    /// Which pairs each source says it serves.
    lists: BTreeMap<SourceName, BTreeSet<Pair>>,
    /// Sources whose last rate of a pair was not taken, and why, for explanations.
    refused: BTreeMap<Pair, BTreeMap<SourceName, Verdict>>,
    /// No quote changes by itself before this. It may be too early, since rates that are confirmed move the moment on; never
    /// too late.
    wake_at: Option<Instant>,
    status_changes: u64,
}

impl Desk {
    /// A desk without rates, whose quotes are of `epoch`.
    pub(crate) fn new(settings: Settings, epoch: Epoch) -> Self {
        let Settings { default, stored, pairs, crosses, reference } = settings;
        let mut desk = Self {
            pairs,
            crosses,
            reference,
            epoch,
            spreads: SpreadTable::new(default),
            spreads_known: !stored,
            quoters: BTreeMap::new(),
            lists: BTreeMap::new(),
            refused: BTreeMap::new(),
            wake_at: None,
            status_changes: 0,
        };
        for pair in desk.crosses.clone() {
            desk.quoter(pair);
        }
        desk
    }

    /// Takes a rate. Answers with the quotes that it changes.
    pub(crate) fn rate(&mut self, message: &Message, rate: &Rate, now: Arrival) -> Result<Vec<Publication>, Dropped> {
        self.hear(message, rate, now)?;
        Ok(self.quote_each(vec![rate.pair], now))
    }

    /// Takes a rate, of several that are to be quoted together, with [`Desk::quote_all`].
    pub(crate) fn hear(&mut self, message: &Message, rate: &Rate, now: Arrival) -> Result<(), Dropped> {
        if message.subject != Subject::rate(rate.source, rate.pair) {
            return Err(Dropped::Mislabelled);
        }
        if rate.value.bid() > rate.value.ask() {
            self.refuse(rate, Verdict::Crossed);
            return Err(Dropped::Crossed);
        }
        let listed = |pair: &PairSettings| pair.sources.is_empty() || pair.sources.contains(&rate.source);
        if !self.pairs.get(&rate.pair).is_none_or(listed) {
            self.refuse(rate, Verdict::NotListed);
            return Err(Dropped::SourceNotAllowed);
        }
        self.quoter(rate.pair).hear(rate, message.version, now.at)?;
        if let Some(refused) = self.refused.get_mut(&rate.pair) {
            refused.remove(&rate.source);
        }
        Ok(())
    }

    /// The quotes of all pairs that have changed.
    pub(crate) fn quote_all(&mut self, now: Arrival) -> Vec<Publication> {
        self.quote_each(self.quoters.keys().copied().collect(), now)
    }

    /// A source serves a pair no more, as the subject of its rates says. Answers with the quotes that this changes.
    pub(crate) fn gone(&mut self, message: &Message, now: Arrival) -> Result<Vec<Publication>, Dropped> {
        let (source, pair) = message.subject.as_rate().ok_or(Dropped::Mislabelled)?;
        if let Some(refused) = self.refused.get_mut(&pair) {
            refused.remove(&source);
        }
        let Some(quoter) = self.quoters.get_mut(&pair) else { return Ok(Vec::new()) };
        quoter.lose(source, message.version)?;
        Ok(self.quote_each(vec![pair], now))
    }

    /// Takes which pairs a source serves. Its prices of others are gone when they are dead: nobody says so of a source that
    /// came back with fewer, in another process. Answers with the quotes that this changes.
    pub(crate) fn list(&mut self, list: &PairList, now: Arrival) -> Vec<Publication> {
        self.lists.insert(list.source, list.pairs.iter().map(|(pair, _)| *pair).collect());
        let pairs: Vec<Pair> = self.quoters.keys().copied().collect();
        let changed = pairs.into_iter().filter(|&pair| self.forget_dead(pair, now.at)).collect();
        self.quote_each(changed, now)
    }

    /// Whether something was forgotten of the pair.
    fn forget_dead(&mut self, pair: Pair, now: Instant) -> bool {
        let serves = |source| self.lists.get(&source).is_none_or(|pairs| pairs.contains(&pair));
        self.quoters.get_mut(&pair).is_some_and(|quoter| quoter.forget_dead(serves, now))
    }

    /// Takes a spread. Answers with the quotes it changes: none if its revision is known, as after a replay.
    pub(crate) fn spread(
        &mut self,
        message: &Message,
        spread: &Spread,
        now: Arrival,
    ) -> Result<Vec<Publication>, Dropped> {
        if message.subject != Subject::spread(spread.scope) {
            return Err(Dropped::Mislabelled);
        }
        if !self.spreads.apply(spread.clone()) {
            return Ok(Vec::new());
        }
        let affected = match spread.scope {
            Scope::Pair(pair) => vec![pair],
            Scope::All => self.quoters.keys().copied().collect(),
        };
        Ok(self.quote_each(affected, now))
    }

    /// All stored spreads have come. Answers with the quotes that have customer prices now.
    pub(crate) fn spreads_known(&mut self, now: Arrival) -> Vec<Publication> {
        self.spreads_known = true;
        self.quote_all(now)
    }

    /// How the pair's price came about, as of the quote published last; `None` for a pair without one to come.
    pub(crate) fn explain(&self, pair: Pair, now: Arrival) -> Option<Explanation> {
        let quoter = self.quoters.get(&pair).filter(|quoter| quoter.is_served())?;
        let none = BTreeMap::new();
        let refused = self.refused.get(&pair).unwrap_or(&none);
        Some(quoter.explain(&self.prices_of_legs(quoter), self.effective(pair), refused, now))
    }

    /// When [`Desk::wake`] should be called if nothing happens before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Answers with the quotes that have become stale or dead, or whose source has given way to another.
    pub(crate) fn wake(&mut self, now: Arrival) -> Vec<Publication> {
        if self.wake_at.is_none_or(|wake_at| now.at < wake_at) {
            return Vec::new();
        }
        let is_due = |quoter: &Quoter| quoter.due_at().is_some_and(|due_at| due_at <= now.at);
        let due: Vec<Pair> = self.quoters.iter().filter(|(_, quoter)| is_due(quoter)).map(|(&pair, _)| pair).collect();
        for &pair in &due {
            self.forget_dead(pair, now.at);
        }
        let publications = self.quote_each(due, now);
        self.wake_at = self.quoters.values().filter_map(Quoter::due_at).min();
        publications
    }

    /// How many pairs are fresh, and which are not, in order.
    pub(crate) fn by_freshness(&self) -> (usize, Vec<Pair>) {
        let served = self.quoters.iter().filter(|(_, quoter)| quoter.is_served());
        let (fresh, others): (Vec<_>, Vec<_>) = served.partition(|(_, quoter)| quoter.status() == Some(Status::Fresh));
        (fresh.len(), others.into_iter().map(|(&pair, _)| pair).collect())
    }

    /// Grows whenever what [`Desk::by_freshness`] answers may have changed.
    pub(crate) fn status_changes(&self) -> u64 {
        self.status_changes
    }

    /// The quotes of these pairs, and of those that are made from them.
    fn quote_each(&mut self, pairs: Vec<Pair>, now: Arrival) -> Vec<Publication> {
        let (asked, mut due): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|pair| self.crosses.contains(pair));
        for &cross in &self.crosses {
            let legs = self.quoters.get(&cross).map(Quoter::legs).unwrap_or_default();
            if asked.contains(&cross) || legs.iter().any(|leg| due.contains(&leg.pair)) {
                due.push(cross);
            }
        }
        due.into_iter().filter_map(|pair| self.quote(pair, now)).collect()
    }

    fn prices_of_legs(&self, quoter: &Quoter) -> Vec<Decided> {
        let price = |leg: &Leg| self.quoters.get(&leg.pair).and_then(Quoter::market);
        quoter.legs().iter().map(price).collect()
    }

    fn effective(&self, pair: Pair) -> Result<Effective, Withheld> {
        if !self.spreads_known {
            return Err(Withheld::SpreadsUnknown);
        }
        self.spreads.effective(pair).ok_or(Withheld::NoSpread)
    }

    fn refuse(&mut self, rate: &Rate, why: Verdict) {
        if !self.quoters.contains_key(&rate.pair) {
            return;
        }
        let refused = self.refused.entry(rate.pair).or_default();
        if refused.len() < MOST_REFUSED || refused.contains_key(&rate.source) {
            refused.insert(rate.source, why);
        }
    }

    fn quoter(&mut self, pair: Pair) -> &mut Quoter {
        let (pairs, reference, epoch) = (&self.pairs, self.reference, self.epoch);
        self.quoters.entry(pair).or_insert_with(|| {
            let settings = pairs.get(&pair).cloned().unwrap_or_default();
            Quoter::new(pair, &settings, reference, epoch)
        })
    }

    fn quote(&mut self, pair: Pair, now: Arrival) -> Option<Publication> {
        let legs = self.prices_of_legs(self.quoters.get(&pair)?);
        let effective = self.effective(pair);
        let quoter = self.quoters.get_mut(&pair)?;
        let publication = quoter.quote(&legs, effective, now);
        self.wake_at = [self.wake_at, quoter.due_at()].into_iter().flatten().min();
        let changed =
            |publication: &Publication| publication.quote.is_none() || publication.news.is_some_and(|news| news.status);
        self.status_changes += u64::from(publication.as_ref().is_some_and(changed));
        publication
    }
}
