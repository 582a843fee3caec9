//! The original project's picture of a quote: one entry of its `rates:live` event and of `GET /rates`.

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{Quote, Sides, Status, Timestamp, decimal};

/// The entry of `quote`, or `None` where old clients must not see one: a dead pair, and a pair without a customer price
/// (they would fail on the missing `withSpread`).
pub fn live_entry(quote: &Quote, status: Status) -> Option<LiveEntry> {
    let customer = quote.customer.as_ref().ok().filter(|_| status != Status::Dead)?;
    Some(LiveEntry {
        original: quote.original.map(|price| Number(price.value())),
        with_spread: customer.price.map(|price| Number(price.value())),
        current_spread: customer.spread.map(Number),
        status,
        updated_at: quote.published_time,
    })
}

/// `{"original":{"buy":20249,"sell":20249},"withSpread":{…},"currentSpread":{…},"status":"fresh","updatedAt":"…"}`: prices
/// are JSON numbers that carry every digit. The last two keys are additions that old clients ignore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(description = "One pair as the original project shows it; prices are numbers that carry every digit.")]
pub struct LiveEntry {
    /// The market's ask and bid.
    original: Sides<Number>,
    /// What the customer pays and gets.
    with_spread: Sides<Number>,
    /// The difference, added on both sides.
    current_spread: Sides<Number>,
    status: Status,
    updated_at: Timestamp,
}

/// A decimal as a JSON number, digit for digit; serde's own numbers would go through a binary float.
#[derive(Debug, Clone, Copy)]
struct Number(Decimal);

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        let description = "A decimal as a JSON number with every digit: to be read as text, not as a binary float.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(description)).examples([20249]).into()
    }
}

impl ToSchema for Number {}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(decimal::json_number(self.0)).map_err(serde::ser::Error::custom)?.serialize(to)
    }
}
