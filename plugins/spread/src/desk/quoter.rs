mod explain;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::counter;
use ratebus_sdk::{
    CompatReference, LogLimit, PairSettings,
    model::{
        self, Arrival, Customer, Effective, Epoch, Pair, Price, Quote, Rate, RuleRef, Sides, SourceName, Status,
        Subject, Version, Withheld, cross::Leg, pricing,
    },
};

use super::{Dropped, News, Publication};
use crate::market::{Decided, Feeds, MarketPrice, Step, cross};

/// Makes the quotes of one pair.
pub(super) struct Quoter {
    pair: Pair,
    subject: Subject,
    reference: CompatReference,
    origin: Origin,
    step: Step,
    /// The last price of the market that could be believed, and why there is none now if so.
    market: Option<MarketPrice>,
    doubt: Option<Withheld>,
    published: Option<Arc<Quote>>,
    next_version: Version,
    /// When time alone may change the quote.
    due_at: Option<Instant>,
    first: First,
    /// How many sources were too far from the others.
    too_far: usize,
    changes: LogLimit,
    suspicions: LogLimit,
    complaints: LogLimit,
}

/// How long the sources may give no price at a start before that is told: they come one by one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How it is about the first price that may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// It was there, or nothing has been said of the pair.
    Fine,
    /// It is told at this moment that there is none.
    Awaited(Instant),
    /// It was told.
    Missed,
}

/// Where the market's price comes from.
enum Origin {
    Sources(Feeds),
    Cross(Vec<Leg>),
}

impl Quoter {
    pub(super) fn new(pair: Pair, settings: &PairSettings, reference: CompatReference, epoch: Epoch) -> Self {
        let legs = model::cross::legs(pair, &settings.cross);
        let origin = legs.map_or_else(|_| Origin::Sources(Feeds::new(settings)), Origin::Cross);
        Self {
            pair,
            subject: Subject::quote(pair),
            reference,
            origin,
            step: Step::new(settings.price_step),
            market: None,
            doubt: None,
            published: None,
            next_version: Version::first(epoch),
            due_at: None,
            first: First::Fine,
            too_far: 0,
            changes: LogLimit::default(),
            suspicions: LogLimit::default(),
            complaints: LogLimit::default(),
        }
    }

    /// Takes a rate of this pair.
    pub(super) fn hear(&mut self, rate: &Rate, version: Version, now: Instant) -> Result<(), Dropped> {
        let Origin::Sources(feeds) = &mut self.origin else { return Err(Dropped::SourceNotAllowed) };
        feeds.hear(rate, version, now)?;
        self.step.see(rate.value.bid().scale());
        self.step.see(rate.value.ask().scale());
        Ok(())
    }

    /// A source serves the pair no more.
    pub(super) fn lose(&mut self, source: SourceName, version: Version) -> Result<(), Dropped> {
        match &mut self.origin {
            Origin::Sources(feeds) => feeds.lose(source, version),
            Origin::Cross(_) => Err(Dropped::SourceNotAllowed),
        }
    }

    /// Leaves out sources that are dead and do not serve the pair. Returns whether there were any.
    pub(super) fn forget_dead(&mut self, serves: impl Fn(SourceName) -> bool, now: Instant) -> bool {
        match &mut self.origin {
            Origin::Sources(feeds) => feeds.forget_dead(serves, now),
            Origin::Cross(_) => false,
        }
    }

    /// Whether there is anything that gives the pair a price, or will.
    pub(super) fn is_served(&self) -> bool {
        match &self.origin {
            Origin::Sources(feeds) => !feeds.is_empty(),
            Origin::Cross(_) => true,
        }
    }

    /// The pairs it is made from; none if sources price it.
    pub(super) fn legs(&self) -> &[Leg] {
        match &self.origin {
            Origin::Sources(_) => &[],
            Origin::Cross(legs) => legs,
        }
    }

    /// The market's price, or why there is none that may be believed. `None` before the first.
    pub(super) fn market(&self) -> Decided {
        let market = self.market.as_ref()?;
        Some(self.doubt.map_or_else(|| Ok(market.clone()), Err))
    }

    /// The quote at `now` under the rule that holds, or without one for the reason given, unless it is the one published before.
    /// `legs` are the prices of [`Quoter::legs`].
    pub(super) fn quote(
        &mut self,
        legs: &[Decided],
        effective: Result<Effective, Withheld>,
        now: Arrival,
    ) -> Option<Publication> {
        let newest = self.market.as_ref().map(|market| market.newest);
        if !self.decide(legs, now.at) {
            return self.withdraw();
        }
        let shown = self.market.as_ref().and_then(|market| market.next_change(now.at));
        let sources = match &self.origin {
            Origin::Sources(feeds) => feeds.next_change(now.at),
            Origin::Cross(_) => None,
        };
        let told = match self.first {
            First::Awaited(until) => Some(until),
            First::Fine | First::Missed => None,
        };
        self.due_at = [sources, shown, told].into_iter().flatten().min();
        let market = self.market.clone()?;
        let quote = self.compose(&market, effective, now);
        let (quote, news) = match &self.published {
            Some(before) if looks_alike(before, &quote) => {
                let Quote { confirmed_at, limits, .. } = quote;
                if before.confirmed_at == confirmed_at && before.limits == limits {
                    return None;
                }
                (Quote { confirmed_at, limits, ..Quote::clone(before) }, None)
            }
            before => {
                let before = before.as_deref();
                // Only of the same sources: another's last tick may have waited until it was preferred.
                let same = before.is_some_and(|b| b.sources == quote.sources);
                let news = News {
                    tick: newest.filter(|&newest| same && newest < market.newest).map(|_| market.newest),
                    status: before.is_none_or(|b| b.published_status != quote.published_status),
                };
                self.next_version = quote.version.next();
                (quote, Some(news))
            }
        };
        let quote = Arc::new(quote);
        self.published = Some(Arc::clone(&quote));
        Some(Publication { subject: self.subject.clone(), quote: Some(quote), news })
    }

    /// Nothing gives the pair a price any more. Should it come back, its versions go on.
    fn withdraw(&mut self) -> Option<Publication> {
        (self.market, self.doubt, self.due_at, self.first) = (None, None, None, First::Fine);
        self.published.take()?;
        // Those who tell clients of it take one.
        self.next_version = self.next_version.next();
        Some(Publication { subject: self.subject.clone(), quote: None, news: None })
    }

    /// The status last published.
    pub(super) fn status(&self) -> Option<Status> {
        self.published.as_ref().map(|quote| quote.published_status)
    }

    /// When time alone may change the quote, if nothing comes before.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Settles what the market's price is, if anything gives one. One that nobody vouches for any more stays, and is withheld
    /// from customers.
    fn decide(&mut self, legs: &[Decided], now: Instant) -> bool {
        let decided = match &mut self.origin {
            Origin::Sources(feeds) => feeds.decide(now),
            Origin::Cross(of) => cross::decide(of, legs, &mut self.step),
        };
        let (market, doubt) = match decided {
            Some(Ok(market)) => (Some(market), None),
            Some(Err(doubt)) => (None, Some(doubt)),
            None => return false,
        };
        self.tell(market.as_ref(), doubt, now);
        self.await_first(doubt, now);
        self.doubt = doubt;
        self.market = market.or(self.market.take());
        true
    }

    /// Tells the log that the price is from elsewhere or of another kind, or in doubt, or that a source is too far from it.
    /// Of a cross its legs have told it.
    fn tell(&mut self, market: Option<&MarketPrice>, doubt: Option<Withheld>, now: Instant) {
        let (Some(before), Origin::Sources(feeds)) = (&self.market, &self.origin) else { return };
        let names = |price: &MarketPrice| price.sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join(", ");
        if let Some(after) = market.filter(|after| after.sources != before.sources || after.kind != before.kind) {
            counter!("ratebus_source_changes_total").increment(1);
            if self.changes.allows(now) {
                tracing::warn!(
                    pair = %self.pair, from = names(before), to = names(after),
                    from_kind = ?before.kind, to_kind = ?after.kind, sources = feeds.to_string(),
                    "the price comes from other sources now"
                );
            }
        }
        if let Some(doubt) = doubt.filter(|&doubt| self.doubt != Some(doubt) && self.complaints.allows(now)) {
            tracing::warn!(
                pair = %self.pair, reason = doubt.as_str(), sources = feeds.to_string(),
                "no customer price: the sources give none that may be believed"
            );
        }
        let too_far = feeds.too_far();
        if too_far > self.too_far {
            counter!("ratebus_sources_too_far_total").increment(1);
            if self.suspicions.allows(now) {
                tracing::warn!(pair = %self.pair, sources = feeds.to_string(), "a source is too far from the others");
            }
        }
        self.too_far = too_far;
    }

    /// Tells that the sources never gave a price that may be believed. Later, quotes tell.
    fn await_first(&mut self, doubt: Option<Withheld>, now: Instant) {
        let (Some(doubt), None, Origin::Sources(feeds)) = (doubt, &self.market, &self.origin) else {
            self.first = First::Fine;
            return;
        };
        match self.first {
            First::Fine => self.first = First::Awaited(now + PATIENCE),
            First::Awaited(until) if now >= until => {
                self.first = First::Missed;
                counter!("ratebus_quotes_withheld_total", "reason" => doubt.as_str()).increment(1);
                if self.complaints.allows(now) {
                    tracing::warn!(
                        pair = %self.pair, reason = doubt.as_str(), sources = feeds.to_string(),
                        "no customer price yet: the sources give none that may be believed"
                    );
                }
            }
            First::Awaited(_) | First::Missed => {}
        }
    }

    fn compose(&mut self, market: &MarketPrice, effective: Result<Effective, Withheld>, now: Arrival) -> Quote {
        let Sides { buy: ask, sell: bid } = market.sides;
        let original = match self.reference {
            CompatReference::Sides => market.sides,
            CompatReference::Ask => Sides { buy: ask, sell: ask },
        };
        let step = self.step.size();
        let rule = effective.as_ref().ok().map(rule_ref);
        let customer = match self.doubt {
            Some(doubt) => Err(doubt),
            None => self.customer(original, effective, step, now.at),
        };
        let mut quote = Quote {
            pair: self.pair,
            source: market.source,
            sources: Arc::clone(&market.sources),
            kind: market.kind,
            bid,
            ask,
            original,
            customer,
            rule,
            step,
            market: market.market,
            published_status: Status::Fresh,
            event_time: market.event_time,
            recv_time: market.recv_time,
            published_time: now.time,
            confirmed_at: market.confirmed_at,
            limits: market.limits,
            version: self.next_version,
        };
        quote.published_status = quote.status(now.at);
        quote
    }

    fn customer(
        &mut self,
        original: Sides<Price>,
        effective: Result<Effective, Withheld>,
        step: Price,
        now: Instant,
    ) -> Result<Customer, Withheld> {
        let effective = effective?;
        pricing::price(original, &effective.rule, step).map_err(|error| {
            self.complain(&effective, error, now);
            Withheld::InvalidSpread
        })
    }

    /// Tells the log that the pair has lost its customer price: once, and at most once in a while if that comes and goes.
    fn complain(&mut self, effective: &Effective, error: pricing::PricingError, now: Instant) {
        let rule = rule_ref(effective);
        let known = |quote: &Quote| quote.customer == Err(Withheld::InvalidSpread) && quote.rule == Some(rule);
        if self.published.as_deref().is_some_and(known) || !self.complaints.allows(now) {
            return;
        }
        let scope = rule.scope.map_or_else(|| "default".to_owned(), |scope| scope.to_string());
        tracing::warn!(
            pair = %self.pair, rule = scope, revision = rule.revision,
            "no customer price: the spread does not fit the market: {error}"
        );
    }
}

fn rule_ref(effective: &Effective) -> RuleRef {
    RuleRef { scope: effective.scope, revision: effective.revision }
}

/// Whether a client sees no difference. Not seen are the moment at which the feed last vouched and until when that counts,
/// and what is stamped on each version.
fn looks_alike(before: &Quote, after: &Quote) -> bool {
    let Quote { version, published_time, confirmed_at, limits, .. } = *before;
    Quote { version, published_time, confirmed_at, limits, ..after.clone() } == *before
}
