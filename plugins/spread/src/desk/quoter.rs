use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ratebus_sdk::{
    CompatReference, PairSettings,
    model::{
        Arrival, Customer, Effective, Epoch, Order, Pair, Price, Quote, Rate, RuleRef, Sides, SourceName, Status,
        Subject, Version, Withheld, pricing,
    },
};

use super::{Dropped, News, Publication};

/// How often the log may complain of a pair's spread.
const COMPLAINT_PAUSE: Duration = Duration::from_mins(1);

/// Makes the quotes of one pair.
pub(super) struct Quoter {
    pair: Pair,
    subject: Subject,
    settings: PairSettings,
    reference: CompatReference,
    feeds: Vec<Feed>,
    /// The most decimals of any price received since start.
    finest_scale: u32,
    published: Option<Arc<Quote>>,
    next_version: Version,
    complained_at: Option<Instant>,
}

/// What one source says of the pair.
struct Feed {
    rate: Arc<Rate>,
    order: Order,
}

impl Quoter {
    pub(super) fn new(pair: Pair, settings: PairSettings, reference: CompatReference, epoch: Epoch) -> Self {
        Self {
            pair,
            subject: Subject::quote(pair),
            settings,
            reference,
            feeds: Vec::new(),
            finest_scale: 0,
            published: None,
            next_version: Version::first(epoch),
            complained_at: None,
        }
    }

    /// Takes a rate of this pair.
    pub(super) fn hear(&mut self, rate: &Arc<Rate>, version: Version) -> Result<(), Dropped> {
        if let Some(feed) = self.feeds.iter_mut().find(|feed| feed.rate.source == rate.source) {
            feed.order.advance(version)?;
            feed.rate = Arc::clone(rate);
        } else {
            self.feeds.push(Feed { rate: Arc::clone(rate), order: Order::starting_with(version) });
        }
        self.finest_scale = self.finest_scale.max(rate.value.bid().scale()).max(rate.value.ask().scale());
        Ok(())
    }

    /// The quote at `now` under the rule that holds, or without one for the reason given, unless it is the one published before.
    pub(super) fn quote(&mut self, effective: Result<Effective, Withheld>, now: Arrival) -> Option<Publication> {
        let rate = Arc::clone(self.choose(now.at)?);
        let quote = self.compose(&rate, effective, now);
        let (quote, news) = match &self.published {
            Some(before) if looks_alike(before, &quote) => {
                if before.confirmed_at == quote.confirmed_at {
                    return None;
                }
                (Quote { confirmed_at: quote.confirmed_at, ..Quote::clone(before) }, None)
            }
            before => {
                let before = before.as_deref();
                let news = News {
                    price: before.is_some_and(|b| b.source == quote.source && b.recv_time != quote.recv_time),
                    status: before.is_none_or(|b| b.published_status != quote.published_status),
                };
                self.next_version = quote.version.next();
                (quote, Some(news))
            }
        };
        let quote = Arc::new(quote);
        self.published = Some(Arc::clone(&quote));
        Some(Publication { subject: self.subject.clone(), quote, news })
    }

    /// The status last published.
    pub(super) fn status(&self) -> Option<Status> {
        self.published.as_ref().map(|quote| quote.published_status)
    }

    /// Whether time has changed the status of the published quote.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.published.as_ref().is_some_and(|quote| quote.status(now) != quote.published_status)
    }

    /// When the published quote becomes stale or dead, if nothing comes before.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        let quote = self.published.as_ref()?;
        let age = quote.feed_age(now);
        let limits = [quote.limits.stale_after, quote.limits.dead_after];
        let next = limits.into_iter().filter(|&limit| limit >= age).min()?;
        // A price is stale past the limit, not at it.
        quote.confirmed_at.checked_add(next + Duration::from_nanos(1))
    }

    /// The rate to be quoted: fresh before stale before dead. Among equals the config's order decides; without one the
    /// source quoted now stays, so that prices do not flap between sources, else the freshest is taken.
    fn choose(&self, now: Instant) -> Option<&Arc<Rate>> {
        let current = self.published.as_ref().map(|quote| quote.source);
        let order = |source: SourceName| self.settings.sources.iter().position(|&listed| listed == source);
        let rank = |rate: &Arc<Rate>| {
            (rate.status(now), order(rate.source), current != Some(rate.source), rate.feed_age(now), rate.source)
        };
        self.feeds.iter().map(|feed| &feed.rate).min_by_key(|rate| rank(rate))
    }

    fn compose(&mut self, rate: &Rate, effective: Result<Effective, Withheld>, now: Arrival) -> Quote {
        let (bid, ask) = (rate.value.bid(), rate.value.ask());
        let original = match self.reference {
            CompatReference::Sides => Sides { buy: ask, sell: bid },
            CompatReference::Ask => Sides { buy: ask, sell: ask },
        };
        let step = self.settings.price_step.unwrap_or_else(|| pricing::step_of_scale(self.finest_scale));
        Quote {
            pair: self.pair,
            source: rate.source,
            kind: rate.value.kind(),
            bid,
            ask,
            original,
            customer: self.customer(original, effective, step, now.at),
            rule: effective.as_ref().ok().map(rule_ref),
            step,
            market: rate.market,
            published_status: rate.status(now.at),
            event_time: rate.event_time,
            recv_time: rate.recv_time,
            published_time: now.time,
            confirmed_at: rate.confirmed_at,
            limits: rate.limits,
            version: self.next_version,
        }
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
        let recently = |before| now.saturating_duration_since(before) < COMPLAINT_PAUSE;
        if self.published.as_deref().is_some_and(known) || self.complained_at.is_some_and(recently) {
            return;
        }
        self.complained_at = Some(now);
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

/// Whether a client sees no difference. Not seen are the moment at which the feed last vouched, and what is stamped on
/// each version.
fn looks_alike(before: &Quote, after: &Quote) -> bool {
    let Quote { version, published_time, confirmed_at, .. } = *before;
    Quote { version, published_time, confirmed_at, ..after.clone() } == *before
}
