use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use ratebus_model::{Adjustment, Rule, Scope, Sides, Spread, Timestamp};
use ratebus_sdk::ProblemDocument;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    condition::{Condition, etag},
    form::{self, Change, SpreadForm},
    schedule,
    scheduled::{self, ScheduledView},
    write::{self, ChangeError, Changed},
};
use crate::{
    accounts, body,
    caller::Caller,
    openapi::v1,
    pair::{self, PairPath, ScopeParam},
    problem::Problem,
    state::{App, Shared},
    store::Actor,
};

/// A spread as `/v1` shows it: a markup for each side.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Spread, description = "A markup for each side; positive means that the house earns.")]
pub(super) struct SpreadView {
    scope: Scope,
    buy: Adjustment,
    sell: Adjustment,
    /// Counts the changes of the scope.
    #[schema(minimum = 1, example = 3)]
    revision: u64,
    /// The administrator's address.
    #[schema(example = "admin@example.com")]
    updated_by: String,
    updated_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Spreads)]
struct SpreadsView {
    spreads: Vec<SpreadView>,
}

/// `None` for a spread that was removed.
fn view(spread: Spread) -> Option<SpreadView> {
    let Spread { scope, rule, revision, updated_by, updated_at } = spread;
    let Sides { buy, sell } = rule?.markup();
    Some(SpreadView { scope, buy, sell, revision, updated_by, updated_at })
}

/// Every spread that is set
#[utoipa::path(get, path = "/v1/spreads", operation_id = "listSpreads", tag = "spreads", security(("bearer" = [])),
    responses((status = 200, description = "Sorted by scope.", body = SpreadsView), v1::Admin))]
pub(crate) async fn list(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let spreads = stored(&app).await?.into_iter().filter_map(view).collect();
    Ok(Json(SpreadsView { spreads }).into_response())
}

/// A spread
#[utoipa::path(get, path = "/v1/spreads/{scope}", operation_id = "getSpread", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam, Condition),
    responses(
        (status = 200, description = "It is set.", body = SpreadView,
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 304, description = "It is the one of `If-None-Match`.",
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 404, description = "None is set, or it is no scope.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
    ))]
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

/// Set a spread
///
/// At once, for everybody who is connected, or at the time of `effectiveFrom`. Without a condition the last writer wins.
#[utoipa::path(put, path = "/v1/spreads/{scope}", operation_id = "putSpread", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam, Condition), request_body = SpreadForm,
    responses(
        (status = 200, description = "It is changed.", body = SpreadView,
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 201, description = "It is set; there was none.", body = SpreadView,
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 202, description = "It will be set at the time that `effectiveFrom` says.", body = ScheduledView,
            headers(("Location" = String, description = "Where the change to come is."))),
        (status = 404, description = "No source serves the pair and no config names it, or it is no scope.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "As many changes of the scope are to come as can be.", body = ProblemDocument,
            content_type = "application/problem+json"),
        (status = 412, description = "The condition does not hold.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
        v1::Body,
    ))]
pub(crate) async fn put(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    let (admin, body) = body::read_from::<_, _, Problem, _>(|| accounts::admin(&app, &caller), request).await?;
    let scope = served_scope(&app, path).await?;
    let Change { rule, reason, effective_from } = form::change(&body, app.ctx.clock().wall())?;
    let actor = Actor::new(&admin, &caller).because(reason.as_deref());
    make(&app, actor, scope, Some(rule), effective_from, &condition).await.map_err(|error| refusal(scope, error))
}

/// Makes a change, or writes it down for its time.
pub(super) async fn make(
    app: &App,
    actor: Actor<'_>,
    scope: Scope,
    rule: Option<Rule>,
    effective_from: Option<Timestamp>,
    condition: &Condition,
) -> Result<Response, ChangeError> {
    let holds = |revision| condition.holds(revision);
    match effective_from {
        Some(at) => schedule::schedule(app, actor, scope, rule, at, holds).await.map(scheduled::accepted),
        None => write::change(app, actor, &[scope], rule, holds).await.map(changed),
    }
}

/// Remove a spread
#[utoipa::path(delete, path = "/v1/spreads/{scope}", operation_id = "deleteSpread", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam, Condition),
    responses(
        (status = 204, description = "It is removed."),
        (status = 404, description = "None is set, or it is no scope.", body = ProblemDocument,
            content_type = "application/problem+json"),
        (status = 412, description = "The condition does not hold.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
    ))]
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
    let configured = app.env.pairs_now().contains_key(&pair) || app.env.compat.pairs.contains(&pair);
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
fn changed(Changed { spreads, created }: Changed) -> Response {
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
        ChangeError::TooMany => {
            let detail = format!("{} changes of {scope} are to come already", schedule::MOST);
            Problem::new(StatusCode::CONFLICT, detail)
        }
        ChangeError::Condition(revision) => {
            let now = revision.map_or("none is set".to_owned(), |revision| format!("its revision is {revision}"));
            Problem::new(StatusCode::PRECONDITION_FAILED, format!("the spread of {scope} is not as expected: {now}"))
        }
    }
}
