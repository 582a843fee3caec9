//! What ratebus speaks of: pairs, prices, rates, spreads, quotes and the subjects they travel under.
//!
//! No I/O, no async and no clock of its own: time comes in as an argument, so that everything here can be
//! tested with made-up moments. Money is [`rust_decimal::Decimal`] or exact integers, never a binary float.
//!
//! The path of a price: a source decodes a frame into a [`Tick`], a [`Fold`] checks it and keeps the
//! [`Rate`], [`pricing`] adds the effective [`Rule`] and the result is a [`Quote`].

mod asset;
pub mod compat;
pub mod cross;
pub mod decimal;
mod delivery;
mod explain;
mod fold;
mod freshness;
pub mod median;
mod message;
mod order;
mod pair;
mod price;
pub mod pricing;
mod quote;
mod rate;
mod schema;
mod source;
mod spread;
mod subject;
mod tick;
mod time;
mod version;
pub mod wire;

pub use asset::Asset;
pub use delivery::{Outgoing, Policy, PublishError, RequestError};
pub use explain::{
    AppliedRule, Calculation, Explanation, LegReport, Method, Operation, RateReport, SourceReport, Step, Verdict,
};
pub use fold::{Fold, FoldLimits, Refusal};
pub use freshness::{Limits, Status};
pub use message::{Headers, Message, PairList, PairState, Payload};
pub use order::{Order, OutOfOrder};
pub use pair::Pair;
pub use price::Price;
pub use quote::{AgeView, Customer, Quote, QuoteView, RateView, RuleRef, Withheld};
pub use rate::{Market, Rate, RateKind, RateValue};
pub use source::SourceName;
pub use spread::{Adjustment, Effective, Rule, Scope, Sides, Spread, SpreadTable, Unit};
pub use subject::{Pattern, Subject};
pub use tick::{Arrival, Tick};
pub use time::Timestamp;
pub use version::{Epoch, Version};

/// A text that is not what its type asks for: what was given, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {expected}")]
pub struct Invalid {
    /// The text as given, shortened to 64 characters.
    pub given: String,
    /// What would have been right, in words ("a pair such as `BTC_USD`").
    pub expected: &'static str,
}

impl Invalid {
    pub(crate) fn new(given: &str, expected: &'static str) -> Self {
        Self { given: given.chars().take(64).collect(), expected }
    }
}

/// Serde through a type's text: `Display` out, `FromStr` in, so that JSON, config and URLs share one form.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
