use axum::{
    Json, extract,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use ratebus_model::{Adjustment, Scope, Timestamp};
use ratebus_sdk::ProblemDocument;
use serde::Serialize;
use tracing::field::display;
use utoipa::ToSchema;

use crate::{
    accounts::{self, manage::complete, masked},
    caller::Caller,
    openapi::v1,
    path_id::{self, IdPath},
    problem::Problem,
    state::Shared,
    store::{Cancelled, Scheduled, ScheduledState},
};

/// A change of a spread that was made for a later time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledSpread)]
pub(super) struct ScheduledView {
    #[schema(format = "uuid")]
    id: String,
    scope: Scope,
    /// The markup to come; `null` on both sides for a removal.
    #[schema(required)]
    buy: Option<Adjustment>,
    #[schema(required)]
    sell: Option<Adjustment>,
    effective_from: Timestamp,
    /// The administrator's address.
    #[schema(example = "admin@example.com")]
    scheduled_by: String,
    scheduled_at: Timestamp,
    #[schema(required)]
    reason: Option<String>,
    /// The revision that the scope had when the change was made; `null` for no spread.
    #[schema(required)]
    base_revision: Option<u64>,
    state: State,
    /// The revision that it became.
    #[schema(required)]
    revision: Option<u64>,
    /// The address of the administrator who did.
    #[schema(required)]
    cancelled_by: Option<String>,
    /// When it was applied or cancelled.
    #[schema(required)]
    settled_at: Option<Timestamp>,
}

/// What became of a change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ScheduledState)]
enum State {
    Pending,
    Applied,
    Cancelled,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ScheduledSpreads)]
struct ScheduledList {
    scheduled: Vec<ScheduledView>,
}

impl From<Scheduled> for ScheduledView {
    fn from(change: Scheduled) -> Self {
        let (state, revision, cancelled_by, settled_at) = match change.state {
            ScheduledState::Pending => (State::Pending, None, None, None),
            ScheduledState::Applied { revision, at } => (State::Applied, Some(revision), None, Some(at)),
            ScheduledState::Cancelled { by, at } => (State::Cancelled, None, Some(by), Some(at)),
        };
        Self {
            id: change.id,
            scope: change.scope,
            buy: change.markup.map(|markup| markup.buy),
            sell: change.markup.map(|markup| markup.sell),
            effective_from: change.effective_from,
            scheduled_by: change.actor,
            scheduled_at: change.made_at,
            reason: change.reason,
            base_revision: change.base_revision,
            state,
            revision,
            cancelled_by,
            settled_at,
        }
    }
}

/// 202: it will be done.
pub(super) fn accepted(change: Scheduled) -> Response {
    let path = format!("/v1/spreads/scheduled/{}", change.id);
    (StatusCode::ACCEPTED, [(LOCATION, path)], Json(ScheduledView::from(change))).into_response()
}

/// The changes of spreads to come
///
/// The next one first. A change that is made at once meanwhile leaves them as they are.
#[utoipa::path(get, path = "/v1/spreads/scheduled", operation_id = "listScheduledSpreads", tag = "spreads",
    security(("bearer" = [])),
    responses((status = 200, description = "Sorted by `effectiveFrom`.", body = ScheduledList), v1::Admin))]
pub(crate) async fn list(extract::State(app): extract::State<Shared>, caller: Caller) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let scheduled = app.backend()?.store.scheduled().await.map_err(|error| app.refuse(&error))?;
    Ok(Json(ScheduledList { scheduled: scheduled.into_iter().map(ScheduledView::from).collect() }).into_response())
}

/// A change of a spread that was scheduled
///
/// Whatever became of it: it is kept when it was applied or cancelled.
#[utoipa::path(get, path = "/v1/spreads/scheduled/{id}", operation_id = "getScheduledSpread", tag = "spreads",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its `id`.", example = "0197a1b2-0000-7000-8000-000000000000")),
    responses(
        (status = 200, description = "The change.", body = ScheduledView),
        (status = 404, description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
        v1::Admin,
    ))]
pub(crate) async fn one(
    extract::State(app): extract::State<Shared>,
    caller: Caller,
    id: IdPath,
) -> Result<Response, Problem> {
    accounts::admin(&app, &caller).await?;
    let id = path_id::parse(id).ok_or_else(unknown)?;
    let found = app.backend()?.store.one_scheduled(&id).await.map_err(|error| app.refuse(&error))?;
    Ok(Json(ScheduledView::from(found.ok_or_else(unknown)?)).into_response())
}

/// Cancel a change of a spread to come
#[utoipa::path(delete, path = "/v1/spreads/scheduled/{id}", operation_id = "cancelScheduledSpread", tag = "spreads",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its `id`.", example = "0197a1b2-0000-7000-8000-000000000000")),
    responses(
        (status = 204, description = "It will not come."),
        (status = 404, description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It was applied or cancelled before.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
    ))]
pub(crate) async fn cancel(
    extract::State(app): extract::State<Shared>,
    caller: Caller,
    id: IdPath,
) -> Result<Response, Problem> {
    let admin = accounts::admin(&app, &caller).await?;
    let id = path_id::parse(id).ok_or_else(unknown)?;
    complete(async move {
        let (store, now) = (&app.backend()?.store, app.ctx.clock().wall());
        match store.cancel_scheduled(&id, &admin.email, now).await.map_err(|error| app.refuse(&error))? {
            Cancelled::Done(scope) => {
                let (event, account, peer) = ("spread_cancelled", masked(&admin.email), caller.peer.map(display));
                let request_id = caller.request_id;
                tracing::info!(event, id, %scope, account, peer, request_id, "a scheduled spread was cancelled");
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Cancelled::Settled => Err(Problem::new(StatusCode::CONFLICT, "the change was applied or cancelled before")),
            Cancelled::Missing => Err(unknown()),
        }
    })
    .await
}

fn unknown() -> Problem {
    Problem::not_found("no change was scheduled under this id")
}
