use std::{collections::HashMap, fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Invalid, Pair, Timestamp, decimal, schema::text_schema, serde_as_text};

/// One thing for each action of the customer: `buy` at the ask, `sell` at the bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sides<T> {
    /// The customer buys the base asset and pays this.
    pub buy: T,
    /// The customer sells the base asset and gets this.
    pub sell: T,
}

impl<T> Sides<T> {
    /// Both sides through `f`.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Sides<U> {
        Sides { buy: f(self.buy), sell: f(self.sell) }
    }
}

/// What an adjustment's number counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Units of the pair's quote asset.
    #[default]
    Absolute,
    /// Hundredths of the side's own price.
    Percent,
    /// Basis points: ten-thousandths of the side's own price.
    Bps,
}

/// How much one side of a price is moved. Serialised as `{"unit": "bps", "value": "25"}`, the value as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(description = "How much one side of a price is moved.")]
pub struct Adjustment {
    /// What `value` counts.
    #[serde(default)]
    #[schema(default = "absolute", example = "absolute")]
    pub unit: Unit,
    /// The amount, a decimal. In a spread a positive one is what the house earns.
    #[schema(value_type = String, pattern = r"^-?[0-9]+(\.[0-9]+)?$", example = "450")]
    #[serde(with = "decimal::text")]
    pub value: Decimal,
}

impl Adjustment {
    /// An amount in units of the quote asset.
    pub const fn absolute(value: Decimal) -> Self {
        Self { unit: Unit::Absolute, value }
    }

    /// The opposite. A zero stays as it is: a [`Decimal`] has a negative one, which would be shown as `-0`.
    fn negated(self) -> Self {
        let value = if self.value.is_zero() { self.value } else { -self.value };
        Self { value, ..self }
    }
}

/// What is added to the market price to get the customer's: signed, so that `customer = original + adjustment` on both
/// sides, as in the original project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule(Sides<Adjustment>);

impl Rule {
    /// From signed adjustments of the customer's price.
    pub const fn from_adjustments(adjustments: Sides<Adjustment>) -> Self {
        Self(adjustments)
    }

    /// From markups, as the `/v1` API and the config speak of them: positive on either side means that the house earns.
    pub fn from_markup(markup: Sides<Adjustment>) -> Self {
        Self(Sides { buy: markup.buy, sell: markup.sell.negated() })
    }

    /// The signed adjustments.
    pub const fn adjustments(&self) -> Sides<Adjustment> {
        self.0
    }

    /// The same as markups.
    pub fn markup(&self) -> Sides<Adjustment> {
        Sides { buy: self.0.buy, sell: self.0.sell.negated() }
    }
}

/// What a spread applies to: one pair, or every pair without one of its own. Text form: `BTC_USD` or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every pair without a spread of its own.
    All,
    /// One pair.
    Pair(Pair),
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(Self::All);
        }
        text.parse().map(Self::Pair).map_err(|_| Invalid::new(text, "a pair such as BTC_USD, or *"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Pair(pair) => fmt::Display::fmt(pair, f),
        }
    }
}

serde_as_text!(Scope);
text_schema!(
    Scope,
    "A pair, or `*` for every pair without a spread of its own.",
    r"^(\*|[A-Z0-9]{1,15}_[A-Z0-9]{1,15})$",
    "BTC_USD"
);

/// The state of one scope's spread, as the database committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// What it applies to.
    pub scope: Scope,
    /// The adjustments, or `None` once it was removed.
    pub rule: Option<Rule>,
    /// Counts the changes of this scope from 1; a removal counts too.
    pub revision: u64,
    /// Who made this revision.
    pub updated_by: String,
    /// When it was made.
    pub updated_at: Timestamp,
}

/// The rule that holds for a pair, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effective {
    /// The adjustments.
    pub rule: Rule,
    /// The scope it was set for; `None` for the config's default.
    pub scope: Option<Scope>,
    /// That scope's revision; 0 for the config's default.
    pub revision: u64,
}

/// All spreads, and which one holds for a pair: its own, else that of `*`, else the config's default.
#[derive(Debug, Clone, Default)]
pub struct SpreadTable {
    default: Option<Rule>,
    scopes: HashMap<Scope, Spread>,
}

impl SpreadTable {
    /// A table with only the config's default, if it has one.
    pub fn new(default: Option<Rule>) -> Self {
        Self { default, scopes: HashMap::new() }
    }

    /// Takes a scope's newer state. Returns whether it was newer than the one known.
    pub fn apply(&mut self, spread: Spread) -> bool {
        match self.scopes.get(&spread.scope) {
            Some(known) if known.revision >= spread.revision => false,
            _ => {
                self.scopes.insert(spread.scope, spread);
                true
            }
        }
    }

    /// The rule that holds for `pair`, if any does. "None" and "zero" are two different answers.
    pub fn effective(&self, pair: Pair) -> Option<Effective> {
        let set = |scope| {
            let spread = self.scopes.get(&scope)?;
            Some(Effective { rule: spread.rule?, scope: Some(scope), revision: spread.revision })
        };
        set(Scope::Pair(pair))
            .or_else(|| set(Scope::All))
            .or_else(|| self.default.map(|rule| Effective { rule, scope: None, revision: 0 }))
    }
}
