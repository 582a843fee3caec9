use std::fmt;

use ratebus_sdk::{
    ConfigError,
    model::{Adjustment, Rule, Sides, Unit, decimal, pricing},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

/// `config` of `sink/spread`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The markup of pairs for which no spread is stored; positive means that the house earns. Without it such pairs
    /// have no customer price.
    pub(crate) default: Option<Sides<Markup>>,
    /// Whether spreads are stored, by `sink/http-api`: then no pair has a customer price before they are known, since
    /// the default must not stand in for one of them. `false` where the default is all there is.
    pub(crate) stored: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { default: None, stored: true }
    }
}

/// `default` as a rule, if both sides are decimals and it is one that `PUT /v1/spreads` would take.
pub(crate) fn default_rule(Sides { buy, sell }: &Sides<Markup>) -> Result<Rule, ConfigError> {
    let mut problems = ConfigError::default();
    let buy = problems.take(buy.adjustment("default.buy"));
    let sell = problems.take(sell.adjustment("default.sell"));
    let (Some(buy), Some(sell)) = (buy, sell) else { return Err(problems) };
    let rule = Rule::from_markup(Sides { buy, sell });
    pricing::check_without_price(&rule).map_err(|error| ConfigError::new("default", error.to_string()))?;
    Ok(rule)
}

/// `"0.5"`, an amount in the quote asset, or `{ unit = "bps", value = "25" }`.
#[derive(Debug, Clone)]
pub(crate) enum Markup {
    Amount(String),
    Full { unit: Unit, value: String },
}

impl Markup {
    fn adjustment(&self, path: &str) -> Result<Adjustment, ConfigError> {
        let (unit, value, path) = match self {
            Self::Amount(value) => (Unit::Absolute, value, path.to_owned()),
            Self::Full { unit, value } => (*unit, value, format!("{path}.value")),
        };
        let value = decimal::parse(value).map_err(|error| ConfigError::new(path, error.to_string()))?;
        Ok(Adjustment { unit, value })
    }
}

impl<'de> Deserialize<'de> for Markup {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(MarkupVisitor)
    }
}

struct MarkupVisitor;

impl<'de> de::Visitor<'de> for MarkupVisitor {
    type Value = Markup;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number in quotes, or a table of unit and value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Markup, E> {
        Ok(Markup::Amount(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Markup, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            #[serde(default)]
            unit: Unit,
            value: String,
        }
        let Full { unit, value } = Full::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Markup::Full { unit, value })
    }
}
