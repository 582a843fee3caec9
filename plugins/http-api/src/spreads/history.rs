use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use ratebus_model::Scope;
use ratebus_sdk::ProblemDocument;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::handlers;
use crate::{
    accounts,
    caller::Caller,
    openapi::v1,
    paging,
    pair::{PairPath, ScopeParam},
    problem::Problem,
    state::Shared,
    store::SpreadChange,
};

/// Which part of a history is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many changes.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// Only the revisions below this one: the `next` of the page before.
    #[param(required = false, format = "uint64")]
    before: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 50, before: u64::MAX }
    }
}

#[derive(Serialize, ToSchema)]
struct History {
    scope: Scope,
    changes: Vec<SpreadChange>,
    /// The `before` of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<u64>,
}

/// The changes of a spread
///
/// Newest first; every revision once, and nothing is ever changed or left out.
#[utoipa::path(get, path = "/v1/spreads/{scope}/history", operation_id = "getSpreadHistory", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam, Page),
    responses(
        (status = 200, description = "A page of them; empty for a scope that never had a spread.", body = History),
        (status = 404, description = "It is no scope.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
        v1::Admin,
    ))]
pub(crate) async fn history(
    State(app): State<Shared>,
    caller: Caller,
    path: PairPath,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let scope = handlers::scope(path)?;
    let Page { limit, before } = paging::parameters(page, |page| page.limit)?;
    let store = &app.backend()?.store;
    let changes = store.spread_changes(scope, before.saturating_sub(1), limit + 1).await;
    let mut changes = changes.map_err(|error| app.refuse(&error))?;
    let next = paging::cut(&mut changes, limit).map(|oldest| oldest.revision);
    Ok(Json(History { scope, changes, next }).into_response())
}
