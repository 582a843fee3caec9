use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use ratebus_model::{Adjustment, Rule, Scope, Sides, decimal, pricing::PricingError};
use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use super::{
    check::{Reason, Refusal},
    write::{self, ChangeError},
};
use crate::{
    accounts, body,
    caller::Caller,
    envelope::{self, Done, Failed, Failure, Fault, done},
    json::{Fields, string},
    openapi::original,
    state::Shared,
    store::Actor,
};

/// Signed amounts that are added to the customer's prices.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "buy": 450, "sell": "-433.50" }))]
#[expect(dead_code, reason = "`adjustments` reads it, and keeps every digit")]
struct UpdateRates {
    buy: Amount,
    sell: Amount,
}

/// A decimal, as a number or as a string.
#[derive(Deserialize)]
struct Amount;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Number, Type::String]))
            .description(Some("A decimal, as a number or as a string: every digit counts."))
            .pattern(Some(r"^-?[0-9]{1,20}(\.[0-9]{1,8})?$"))
            .into()
    }
}

impl ToSchema for Amount {}

/// Set the spread of the original's pairs
///
/// Signed absolute adjustments, added to both of the customer's prices, for the pairs of `compat.pairs` together.
#[utoipa::path(post, path = "/settings/update-rates", operation_id = "updateRates", tag = "spreads",
    security(("bearer" = [])), request_body = UpdateRates,
    responses(
        (status = 200, description = "`Rates created` if none of the pairs had a spread of its own, else `Rates updated`.", body = Done),
        (status = 401, description = "No valid bearer token of an administrator.", body = Failed),
        (status = 404, description = "`compat.pairs` names none.", body = Failed),
        original::Body,
        original::Stored,
    ))]
pub(crate) async fn update_rates(
    State(app): State<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    if app.env.compat.pairs.is_empty() {
        return Err(envelope::not_found());
    }
    let (admin, body) = body::read_from::<_, _, Failure, _>(|| accounts::admin(&app, &caller), request).await?;
    let rule = adjustments(&body)?;
    let mut scopes: Vec<Scope> = app.env.compat.pairs.iter().copied().map(Scope::Pair).collect();
    // A pair that the config names twice is one.
    scopes.sort_unstable();
    scopes.dedup();
    let changed =
        write::change(&app, Actor::new(&admin, &caller), &scopes, Some(rule), |_| true).await.map_err(refusal)?;
    Ok(done(if changed.created { "Rates created" } else { "Rates updated" }))
}

fn adjustments(body: &[u8]) -> Result<Rule, Failure> {
    let fields = Fields::parse(body).map_err(Failure::unreadable)?;
    match (number(&fields, "buy"), number(&fields, "sell")) {
        (Ok(buy), Ok(sell)) => {
            let (buy, sell) = (Adjustment::absolute(buy), Adjustment::absolute(sell));
            Ok(Rule::from_adjustments(Sides { buy, sell }))
        }
        (buy, sell) => Err(Failure::invalid(buy.err().into_iter().chain(sell.err()).collect())),
    }
}

/// A number or a numeric string, by its text: it never becomes a binary float.
fn number(fields: &Fields<'_>, field: &'static str) -> Result<decimal::Decimal, Fault> {
    let missing = || Fault::new("required", field, format!("The {field} field is required"));
    let value = fields.given(field).ok_or_else(missing)?;
    let text = string(value).unwrap_or_else(|| value.get().to_owned());
    match text.trim() {
        "" => Err(missing()),
        text => {
            decimal::parse(text).map_err(|_| Fault::new("number", field, format!("The {field} value must be a number")))
        }
    }
}

fn refusal(error: ChangeError) -> Failure {
    match error {
        ChangeError::Unavailable(error) => error.into(),
        ChangeError::Refused(refusal) => Failure::invalid(vec![fault(&refusal)]),
        // None has a cause here: there is no condition, and nothing is removed or left for later.
        ChangeError::Condition(_) | ChangeError::Missing | ChangeError::TooMany => {
            Failure::new(StatusCode::CONFLICT, "Conflict")
        }
    }
}

fn fault(refusal: &Refusal) -> Fault {
    let field = match refusal.reason {
        Reason::TooFar { side, .. } => side,
        Reason::Pricing(PricingError::BuyNotPositive) => "buy",
        Reason::Pricing(PricingError::Crossed | PricingError::SellNotPositive | PricingError::OutOfRange) => "sell",
    };
    Fault::new("spread", field, refusal.to_string())
}
