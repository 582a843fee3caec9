use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use ratebus_model::{Adjustment, Rule, Scope, Sides, decimal, pricing::PricingError};

use super::{
    check::{Reason, Refusal},
    write::{self, ChangeError},
};
use crate::{
    accounts, body,
    caller::Caller,
    envelope::{self, Failure, Fault, done},
    json::{Fields, string},
    state::Shared,
    store::Actor,
};

/// `POST /settings/update-rates`: signed absolute adjustments of both customer prices, for the pairs of `compat.pairs`.
/// As in the original, the sell side is added too.
pub(crate) async fn update_rates(
    State(app): State<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    if app.env.compat.pairs.is_empty() {
        return Err(envelope::not_found());
    }
    let admin = accounts::admin(&app, &caller).await?;
    let rule = adjustments(&body::read(request).await?)?;
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
        // Neither has a cause here: there is no condition and nothing is removed.
        ChangeError::Condition(_) | ChangeError::Missing => Failure::new(StatusCode::CONFLICT, "Conflict"),
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
