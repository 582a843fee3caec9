use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use ratebus_model::Scope;
use serde::{Deserialize, Serialize};

use super::handlers;
use crate::{accounts, caller::Caller, pair::PairPath, problem::Problem, state::Shared, store::SpreadChange};

/// The most changes of one answer.
const MOST: u32 = 200;

/// Which part of a history is asked for.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Page {
    limit: u32,
    /// Only the revisions below this one.
    before: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 50, before: u64::MAX }
    }
}

#[derive(Serialize)]
struct History {
    scope: Scope,
    changes: Vec<SpreadChange>,
    /// The `before` of the next page; `None` on the last one.
    next: Option<u64>,
}

/// `GET /v1/spreads/{scope}/history`: the changes of a spread, newest first.
pub(crate) async fn history(
    State(app): State<Shared>,
    caller: Caller,
    path: PairPath,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let scope = handlers::scope(path)?;
    let Query(Page { limit, before }) = page.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid(format!("limit is not a number from 1 to {MOST}")));
    }
    let store = &app.backend()?.store;
    // One more than asked for tells whether there are more.
    let changes = store.spread_changes(scope, before.saturating_sub(1), limit + 1).await;
    let mut changes = changes.map_err(|error| app.refuse(&error))?;
    let more = changes.len() > limit as usize;
    changes.truncate(limit as usize);
    let next = changes.last().filter(|_| more).map(|oldest| oldest.revision);
    Ok(Json(History { scope, changes, next }).into_response())
}
