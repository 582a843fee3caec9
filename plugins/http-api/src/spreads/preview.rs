use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use ratebus_model::{Pair, Price, Quote, Rule, Scope, Sides, decimal, pricing};
use ratebus_sdk::ProblemDocument;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    check,
    form::{self, Change, SpreadForm},
    handlers,
};
use crate::{
    accounts, body,
    caller::Caller,
    openapi::v1,
    pair::{PairPath, ScopeParam},
    problem::Problem,
    state::Shared,
};

#[derive(Serialize, ToSchema)]
struct Preview {
    scope: Scope,
    pairs: Vec<PairPreview>,
}

/// What a rule would do to one pair.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PairPreview {
    pair: Pair,
    /// `null` without a live price.
    #[schema(required)]
    original: Option<Sides<Price>>,
    /// The customer's prices now, if there are any.
    #[schema(required)]
    before: Option<Sides<Price>>,
    /// The customer's prices then, unless the rule would be refused.
    #[schema(required)]
    after: Option<Sides<Price>>,
    /// Between the two sides then, in basis points.
    #[schema(required, example = "108.42")]
    width_bps: Option<String>,
    /// The customer could sell above the market's bid or buy below its ask.
    house_loss: bool,
    /// Why the rule would be refused.
    #[schema(required)]
    problem: Option<String>,
}

/// What setting a spread would do
///
/// To each pair that a `PUT` of the same body would apply to, at the prices of now, changing nothing.
#[utoipa::path(post, path = "/v1/spreads/{scope}/preview", operation_id = "previewSpread", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam), request_body = SpreadForm,
    responses(
        (status = 200, description = "The prices before and after.", body = Preview),
        (status = 404, description = "No source serves the pair and no config names it, or it is no scope.",
            body = ProblemDocument, content_type = "application/problem+json"),
        v1::Admin,
        v1::Body,
    ))]
pub(crate) async fn preview(
    State(app): State<Shared>,
    caller: Caller,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    let (_, body) = body::read_from::<_, _, Problem, _>(|| accounts::admin(&app, &caller), request).await?;
    let scope = handlers::served_scope(&app, path).await?;
    // Judged at the prices of now, whenever it is to take effect.
    let Change { rule, .. } = form::change(&body, app.ctx.clock().wall())?;
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
