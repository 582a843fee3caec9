use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{
    Epoch, Limits, Market, Pair, Price, Rate, RateKind, Scope, Sides, SourceName, Status, Timestamp, Version, decimal,
    schema::text_schema,
};

/// What customers see of one pair: the market's price, theirs, and everything needed to judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Of what.
    pub pair: Pair,
    /// Whose rate it is made from; `median` or `cross` if it is made from several.
    pub source: SourceName,
    /// All whose rates it is made from; never empty.
    pub sources: Arc<[SourceName]>,
    /// Whether the rate has two sides.
    pub kind: RateKind,
    /// The market's best bid.
    pub bid: Price,
    /// The market's best ask.
    pub ask: Price,
    /// What the spread was added to: ask and bid, or the ask twice under `compat.reference = "ask"`.
    pub original: Sides<Price>,
    /// The customer's prices, or why there are none.
    pub customer: Result<Customer, Withheld>,
    /// The rule that was applied, if there is one.
    pub rule: Option<RuleRef>,
    /// The prices are multiples of this.
    pub step: Price,
    /// Whether the exchange is matching orders.
    pub market: Market,
    /// Fresh, stale or dead when it was published. Ask [`Quote::status`] for now.
    pub published_status: Status,
    /// The exchange's own time of the price.
    pub event_time: Option<Timestamp>,
    /// When the price arrived from the exchange.
    pub recv_time: Timestamp,
    /// When this version was published.
    pub published_time: Timestamp,
    /// The last moment at which the feed vouched for the price.
    pub confirmed_at: Instant,
    /// When it becomes stale and dead.
    pub limits: Limits,
    /// Grows whenever a client would see a difference.
    pub version: Version,
}

/// The customer's prices and their distance from the original ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Customer {
    /// What the customer pays for buying and gets for selling.
    pub price: Sides<Price>,
    /// `price - original`, exactly, after rounding.
    pub spread: Sides<Decimal>,
}

impl Customer {
    /// These prices of the customer over the original ones; `None` if their distance is no [`Decimal`].
    pub fn over(original: Sides<Price>, price: Sides<Price>) -> Option<Self> {
        let distance = |price: Price, original: Price| decimal::checked_sub(price.value(), original.value());
        let spread = Sides { buy: distance(price.buy, original.buy)?, sell: distance(price.sell, original.sell)? };
        Some(Self { price, spread })
    }
}

/// Why a quote carries no customer price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// No spread is set and the config has no default. Not the same as a spread of zero.
    NoSpread,
    /// The stored spreads are not known yet: the config's default must not stand in for one of them.
    SpreadsUnknown,
    /// At this market price the spread gives crossed prices or none above zero.
    InvalidSpread,
    /// Fewer sources than the config asks for have a price to be used.
    NoQuorum,
    /// The sources are further apart than the config allows.
    Disagreement,
    /// The pair's step, or the number of digits, does not allow for the price.
    OutOfRange,
    /// Nothing prices the pair any more: the config has changed. Said once, and then the pair is left out.
    NotServed,
}

impl Withheld {
    /// The best status a price may have in spite of it: one that the market no longer gives is never fresh.
    pub const fn best_status(self) -> Status {
        match self {
            Self::NoSpread | Self::SpreadsUnknown | Self::InvalidSpread => Status::Fresh,
            Self::NoQuorum | Self::Disagreement | Self::OutOfRange => Status::Stale,
            Self::NotServed => Status::Dead,
        }
    }

    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSpread => "no_spread",
            Self::SpreadsUnknown => "spreads_unknown",
            Self::InvalidSpread => "invalid_spread",
            Self::NoQuorum => "no_quorum",
            Self::Disagreement => "disagreement",
            Self::OutOfRange => "out_of_range",
            Self::NotServed => "not_served",
        }
    }
}

/// Which rule made a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleRef {
    /// The scope it was set for; `null` for the config's default.
    #[schema(required)]
    pub scope: Option<Scope>,
    /// The scope's revision; 0 for the config's default.
    pub revision: u64,
}

impl Quote {
    /// How long ago the feed last vouched for the price.
    pub fn feed_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.confirmed_at)
    }

    /// Fresh, stale or dead at `now`.
    pub fn status(&self, now: Instant) -> Status {
        let withheld = self.customer.as_ref().err().map_or(Status::Fresh, |reason| reason.best_status());
        self.limits.status(self.feed_age(now)).max(self.market.best_status()).max(withheld)
    }

    /// What is shown of the pair last when nothing prices it any more.
    #[must_use]
    pub fn not_served(&self) -> Self {
        let customer = Err(Withheld::NotServed);
        Self { customer, published_status: Status::Dead, version: self.version.next(), ..self.clone() }
    }

    /// The quote as `/v1` shows it, over HTTP, WebSocket and SSE alike.
    ///
    /// Prices are strings. A dead quote has none: `original`, `customer` and `spread` are `null`.
    pub fn view(&self, status: Status) -> QuoteView<'_> {
        let alive = status != Status::Dead;
        let customer = self.customer.as_ref().ok().filter(|_| alive);
        QuoteView {
            pair: self.pair,
            source: self.source,
            sources: &self.sources,
            kind: self.kind,
            status,
            market: self.market,
            original: alive.then_some(self.original),
            customer: customer.map(|customer| customer.price),
            spread: customer.map(|customer| customer.spread.map(DecimalText)),
            rule: self.rule.as_ref(),
            withheld: self.customer.as_ref().err().copied(),
            epoch: self.version.epoch,
            sequence: self.version.sequence,
            event_time: self.event_time,
            received_time: self.recv_time,
            published_time: self.published_time,
            age_ms: None,
            feed_age_ms: None,
        }
    }
}

impl Rate {
    /// The rate as `/v1` shows it where no spread is known: the fields of [`Quote::view`] that a raw rate has.
    pub fn view(&self, status: Status) -> RateView {
        let original = Sides { buy: self.value.ask(), sell: self.value.bid() };
        RateView {
            pair: self.pair,
            source: self.source,
            kind: self.value.kind(),
            status,
            market: self.market,
            original: (status != Status::Dead).then_some(original),
            epoch: self.version.epoch,
            sequence: self.version.sequence,
            event_time: self.event_time,
            received_time: self.recv_time,
            age_ms: None,
            feed_age_ms: None,
        }
    }
}

/// The JSON of a [`Quote`]; see [`Quote::view`].
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Quote, description = "A price with the spread, and everything needed to judge it.")]
pub struct QuoteView<'a> {
    /// Of what.
    pair: Pair,
    /// Whose rate it is made from; `median` or `cross` if it is made from several.
    source: SourceName,
    /// All whose rates it is made from.
    #[schema(min_items = 1)]
    sources: &'a [SourceName],
    kind: RateKind,
    status: Status,
    market: Market,
    /// The market's ask (`buy`) and bid (`sell`); `null` when the rate is dead.
    #[schema(required)]
    original: Option<Sides<Price>>,
    /// What the customer pays (`buy`) and gets (`sell`); `null` when there is no such price.
    #[schema(required)]
    customer: Option<Sides<Price>>,
    /// `customer - original`, exactly, after rounding.
    #[schema(required)]
    spread: Option<Sides<DecimalText>>,
    /// The spread that was applied.
    #[schema(required)]
    rule: Option<&'a RuleRef>,
    /// Why there is no customer price.
    #[schema(required)]
    withheld: Option<Withheld>,
    epoch: Epoch,
    /// Grows within an epoch whenever a client would see a difference.
    sequence: u64,
    /// The exchange's own time of the price.
    #[schema(required)]
    event_time: Option<Timestamp>,
    /// When the price arrived from the exchange.
    received_time: Timestamp,
    /// When this version was made.
    published_time: Timestamp,
    /// Since the price arrived, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    age_ms: Option<u64>,
    /// Since the feed last vouched for the price, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    feed_age_ms: Option<u64>,
}

impl QuoteView<'_> {
    /// Adds `ageMs` (since the price arrived) and `feedAgeMs` (since the feed last vouched for it), for answers that
    /// are true at one moment only.
    #[must_use]
    pub fn with_age(self, age: AgeView) -> Self {
        Self { age_ms: Some(age.age_ms), feed_age_ms: Some(age.feed_age_ms), ..self }
    }
}

/// The JSON of a [`Rate`]; see [`Rate::view`].
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rate, description = "The market's price, without a spread.")]
pub struct RateView {
    /// Of what.
    pair: Pair,
    /// Whose rate it is made from.
    source: SourceName,
    kind: RateKind,
    status: Status,
    market: Market,
    /// The market's ask (`buy`) and bid (`sell`); `null` when the rate is dead.
    #[schema(required)]
    original: Option<Sides<Price>>,
    epoch: Epoch,
    /// Grows within an epoch whenever a client would see a difference.
    sequence: u64,
    /// The exchange's own time of the price.
    #[schema(required)]
    event_time: Option<Timestamp>,
    /// When the price arrived from the exchange.
    received_time: Timestamp,
    /// Since the price arrived, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    age_ms: Option<u64>,
    /// Since the feed last vouched for the price, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    feed_age_ms: Option<u64>,
}

impl RateView {
    /// As [`QuoteView::with_age`].
    #[must_use]
    pub fn with_age(self, age: AgeView) -> Self {
        Self { age_ms: Some(age.age_ms), feed_age_ms: Some(age.feed_age_ms), ..self }
    }
}

/// Two ages in milliseconds: of the price, and of the feed's word for it.
#[derive(Debug, Clone, Copy)]
pub struct AgeView {
    age_ms: u64,
    feed_age_ms: u64,
}

impl AgeView {
    /// From the price's age by the wall clock and the feed's by the monotonic one.
    pub fn new(price: Duration, feed: Duration) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { age_ms: millis(price), feed_age_ms: millis(feed) }
    }
}

/// A signed decimal as a JSON string.
#[derive(Debug, Clone, Copy)]
struct DecimalText(Decimal);

text_schema!(DecimalText, "A decimal, digit for digit.", r"^-?[0-9]+(\.[0-9]+)?$", "-433.00");

impl Serialize for DecimalText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        decimal::text::serialize(&self.0, to)
    }
}
