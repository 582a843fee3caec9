use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use ratebus_model::{Adjustment, Scope, Sides, Spread, Timestamp};
use serde::Serialize;

use super::{
    condition::{Condition, etag},
    form::{self, Change},
    write::{self, ChangeError, Changed},
};
use crate::{
    accounts, body,
    caller::Caller,
    pair::{self, PairPath},
    problem::Problem,
    state::{App, Shared},
    store::Actor,
};

/// A spread as `/v1` shows it: a markup for each side.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpreadView {
    scope: Scope,
    #[serde(flatten)]
    markup: Sides<Adjustment>,
    revision: u64,
    updated_by: String,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct SpreadsView {
    spreads: Vec<SpreadView>,
}

/// `None` for a spread that was removed.
fn view(spread: Spread) -> Option<SpreadView> {
    let Spread { scope, rule, revision, updated_by, updated_at } = spread;
    Some(SpreadView { scope, markup: rule?.markup(), revision, updated_by, updated_at })
}

/// `GET /v1/spreads`.
pub(crate) async fn list(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let spreads = stored(&app).await?.into_iter().filter_map(view).collect();
    Ok(Json(SpreadsView { spreads }).into_response())
}

/// `GET /v1/spreads/{scope}`.
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let scope = scope(path)?;
    let spread = stored(&app).await?.into_iter().find(|spread| spread.scope == scope).and_then(view);
    let spread = spread.ok_or_else(|| none_set(scope))?;
    if condition.is_known(Some(spread.revision)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(spread.revision))]).into_response());
    }
    Ok(answer(StatusCode::OK, spread))
}

/// `PUT /v1/spreads/{scope}`.
pub(crate) async fn put(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    let admin = accounts::admin(&app, &caller).await?;
    let scope = served_scope(&app, path).await?;
    let Change { rule, reason } = form::change(&body::read(request).await?)?;
    let actor = Actor::new(&admin, &caller).because(reason.as_deref());
    write::change(&app, actor, &[scope], Some(rule), |now| condition.holds(now))
        .await
        .map(changed)
        .map_err(|error| refusal(scope, error))
}

/// `DELETE /v1/spreads/{scope}`.
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
) -> Result<Response, Problem> {
    let admin = accounts::admin(&app, &caller).await?;
    let scope = scope(path)?;
    write::change(&app, Actor::new(&admin, &caller), &[scope], None, |now| condition.holds(now))
        .await
        .map(changed)
        .map_err(|error| refusal(scope, error))
}

/// The scope of a path.
pub(super) fn scope(path: PairPath) -> Result<Scope, Problem> {
    let invalid = || Problem::not_found("the scope is neither a pair such as BTC_USD nor *");
    let Path(text) = path.map_err(|_| invalid())?;
    text.parse().map_err(|_| invalid())
}

/// The scope of a path that a spread may be set for. A pair that nobody serves and no config names is a typing mistake,
/// and its spread would silently do nothing.
pub(super) async fn served_scope(app: &App, path: PairPath) -> Result<Scope, Problem> {
    let scope = scope(path)?;
    let Scope::Pair(pair) = scope else { return Ok(scope) };
    let configured = app.env.pairs.contains_key(&pair) || app.env.compat.pairs.contains(&pair);
    let served = configured || pair::is_known(&app.ctx, pair);
    if served || stored(app).await?.iter().any(|spread| spread.scope == scope) {
        return Ok(scope);
    }
    Err(pair::unknown())
}

/// The spreads in the database.
pub(super) async fn stored(app: &App) -> Result<Vec<Spread>, Problem> {
    Ok(app.backend()?.store.spreads().await.map_err(|error| app.refuse(&error))?)
}

/// The answer to a change of one spread: how it is now, or nothing for a removal.
pub(super) fn changed(Changed { spreads, created }: Changed) -> Response {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    match spreads.into_iter().find_map(view) {
        Some(spread) => answer(status, spread),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn answer(status: StatusCode, spread: SpreadView) -> Response {
    (status, [(ETAG, etag(spread.revision))], Json(spread)).into_response()
}

fn none_set(scope: Scope) -> Problem {
    Problem::not_found(format!("no spread is set for {scope}"))
}

pub(super) fn refusal(scope: Scope, error: ChangeError) -> Problem {
    match error {
        ChangeError::Unavailable(error) => error.into(),
        ChangeError::Missing => none_set(scope),
        ChangeError::Refused(refusal) => Problem::invalid(refusal.to_string()),
        ChangeError::Condition(revision) => {
            let now = revision.map_or("none is set".to_owned(), |revision| format!("its revision is {revision}"));
            Problem::new(StatusCode::PRECONDITION_FAILED, format!("the spread of {scope} is not as expected: {now}"))
        }
    }
}
