use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Adjustment, Market, Pair, Price, RateKind, Scope, Sides, SourceName, Status, Timestamp, Withheld, cross::Leg,
};

/// How a pair's price came about: what each source says, which of them are used, and each step from there to the
/// customer's price with its exact numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Of what.
    pub pair: Pair,
    /// The moment it is true at.
    pub time: Timestamp,
    /// How several prices become one.
    pub method: Method,
    /// The sources that have spoken of the pair; none of a cross.
    pub sources: Vec<SourceReport>,
    /// What a cross is made from, from its base to its quote.
    pub legs: Vec<LegReport>,
    /// How far the market's price may be trusted; `null` before the first.
    #[schema(required)]
    pub status: Option<Status>,
    /// What the spread is added to: the market's ask (`buy`) and bid (`sell`); `null` when there is none to be believed.
    #[schema(required)]
    pub original: Option<Sides<Price>>,
    /// The spread that holds for the pair.
    #[schema(required)]
    pub rule: Option<AppliedRule>,
    /// The customer's prices are multiples of this.
    pub price_step: Price,
    /// From the sources' prices to the customer's.
    pub steps: Vec<Step>,
    /// What the customer pays (`buy`) and gets (`sell`); `null` when there is no such price.
    #[schema(required)]
    pub customer: Option<Sides<Price>>,
    /// Why there is no customer price.
    #[schema(required)]
    pub withheld: Option<Withheld>,
}

/// How several prices become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PriceMethod)]
pub enum Method {
    /// One source is taken, the first that is fresh.
    First,
    /// The median of the sources.
    Median,
    /// Other pairs, chained by their assets.
    Cross,
}

/// What one source says, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// Who.
    pub source: SourceName,
    /// Whether the price is made from it.
    pub used: bool,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// What it said last that could be a price; `null` if nothing.
    #[schema(required)]
    pub rate: Option<RateReport>,
}

/// A source's last price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateReport {
    /// Whether it has two sides.
    pub kind: RateKind,
    /// How far it may be trusted.
    pub status: Status,
    /// What the exchange says of its market.
    pub market: Market,
    /// Its ask (`buy`) and bid (`sell`); `null` when it is dead.
    #[schema(required)]
    pub original: Option<Sides<Price>>,
    /// When it arrived.
    pub received_time: Timestamp,
    /// Since the feed last vouched for it, in milliseconds.
    pub feed_age_ms: u64,
}

/// What became of a source's price, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is good, and the price is made from it.
    Used,
    /// It is good, and another comes before it, or there are not enough like it.
    Spare,
    /// It is good again, not yet for long enough.
    Returning,
    /// Its market is not matching.
    MarketNotTrading,
    /// Its feed has been silent for too long.
    Stale,
    /// As stale, for so long that it is not shown either.
    Dead,
    /// It is too far from the median of all.
    Outlier,
    /// It is too far from the others, or from the price it would replace.
    Disagreement,
    /// A reference price among two-sided ones, or the other way round.
    OtherKind,
    /// The config lists the pair's sources, and this is none of them.
    NotListed,
    /// Its last bid was above its ask, and was not taken.
    Crossed,
}

impl Verdict {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Spare => "spare",
            Self::Returning => "returning",
            Self::MarketNotTrading => "market_not_trading",
            Self::Stale => "stale",
            Self::Dead => "dead",
            Self::Outlier => "outlier",
            Self::Disagreement => "disagreement",
            Self::OtherKind => "other_kind",
            Self::NotListed => "not_listed",
            Self::Crossed => "crossed",
        }
    }
}

/// A pair that a cross is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LegReport {
    /// Which.
    pub pair: Pair,
    /// Whether its price divides, with the sides changed over, instead of multiplying.
    pub divides: bool,
    /// Its price; `null` when there is none to be believed.
    #[schema(required)]
    pub original: Option<Sides<Price>>,
    /// Why there is none.
    #[schema(required)]
    pub withheld: Option<Withheld>,
}

impl LegReport {
    /// A leg and its price; the inner error says why there is none to be believed.
    pub fn new(leg: Leg, price: Option<Result<Sides<Price>, Withheld>>) -> Self {
        let (original, withheld) = match price {
            Some(Ok(price)) => (Some(price), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        Self { pair: leg.pair, divides: leg.reversed, original, withheld }
    }
}

/// A spread as `/v1/spreads` speaks of it: positive on either side means that the house earns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedRule {
    /// The scope it was set for; `null` for the config's default.
    #[schema(required)]
    pub scope: Option<Scope>,
    /// The scope's revision; 0 for the config's default.
    pub revision: u64,
    /// Added to what the customer pays.
    pub buy: Adjustment,
    /// Taken from what the customer gets.
    pub sell: Adjustment,
}

/// One step on the way to the customer's price, for each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PriceStep)]
pub struct Step {
    /// What is done with the inputs.
    pub operation: Operation,
    /// On the way to what the customer pays.
    pub buy: Calculation,
    /// On the way to what the customer gets.
    pub sell: Calculation,
}

/// What a step does with its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The middle one of the inputs; of an even number the mean of the two in the middle.
    Median,
    /// Each input multiplies or divides, as its leg says; then to a multiple of the price step, `buy` up and `sell` down.
    Cross,
    /// The first input moved by the second, in the unit of the rule, exactly. `sell` is moved by the opposite of its markup.
    Spread,
    /// The first input to a multiple of the second, `buy` up and `sell` down.
    Round,
}

/// Decimals in, a decimal out; all as text, with every digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Calculation {
    /// What is known before.
    pub inputs: Vec<String>,
    /// What follows.
    pub result: String,
}

impl Calculation {
    /// From numbers of any kind.
    pub fn new(inputs: impl IntoIterator<Item = impl ToString>, result: &impl ToString) -> Self {
        Self { inputs: inputs.into_iter().map(|input| input.to_string()).collect(), result: result.to_string() }
    }
}
