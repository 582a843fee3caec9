use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use ratebus_model::{Pair, Price, Quote, Rule, Scope, Sides, decimal, pricing};
use serde::Serialize;

use super::{
    check,
    form::{self, Change},
    handlers,
};
use crate::{accounts, body, caller::Caller, pair::PairPath, problem::Problem, state::Shared};

#[derive(Serialize)]
struct Preview {
    scope: Scope,
    pairs: Vec<PairPreview>,
}

/// What a rule would do to one pair.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PairPreview {
    pair: Pair,
    /// `None` without a live price.
    original: Option<Sides<Price>>,
    /// The customer's prices now, if there are any.
    before: Option<Sides<Price>>,
    /// The customer's prices then, unless the rule would be refused.
    after: Option<Sides<Price>>,
    width_bps: Option<String>,
    house_loss: bool,
    /// Why the rule would be refused.
    problem: Option<String>,
}

/// `POST /v1/spreads/{scope}/preview`: what `PUT` with the same body would do to each pair, changing nothing.
pub(crate) async fn preview(
    State(app): State<Shared>,
    caller: Caller,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let scope = handlers::served_scope(&app, path).await?;
    let Change { rule, .. } = form::change(&body::read(request).await?)?;
    let limit = app.backend()?.max_markup_percent;
    let affected = check::affected(&app, scope, &handlers::stored(&app).await?);
    let pairs = affected.into_iter().map(|(pair, quote)| of_pair(pair, quote.as_deref(), &rule, limit)).collect();
    Ok(Json(Preview { scope, pairs }).into_response())
}

fn of_pair(pair: Pair, quote: Option<&Quote>, rule: &Rule, limit: u32) -> PairPreview {
    let outcome = check::outcome(rule, quote, limit);
    let problem = outcome.as_ref().err().map(ToString::to_string);
    let after = outcome.ok().flatten().map(|customer| customer.price);
    let loses = |quote: &Quote| after.is_some_and(|after| pricing::house_loss(after, quote.bid, quote.ask));
    PairPreview {
        pair,
        original: quote.map(|quote| quote.original),
        before: quote.and_then(|quote| quote.customer.as_ref().ok()).map(|customer| customer.price),
        after,
        width_bps: after.and_then(pricing::width_bps).map(|width: decimal::Decimal| width.to_string()),
        house_loss: quote.is_some_and(loses),
        problem,
    }
}
