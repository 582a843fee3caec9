use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use ratebus_model::Rule;
use ratebus_sdk::ProblemDocument;

use super::{
    condition::Condition,
    form::{self, Rollback, RollbackForm},
    handlers::{self, SpreadView},
    scheduled::ScheduledView,
    write::ChangeError,
};
use crate::{
    accounts, body,
    caller::Caller,
    openapi::v1,
    pair::{PairPath, ScopeParam},
    problem::Problem,
    state::Shared,
    store::Actor,
};

/// Return to an earlier revision of a spread
///
/// Sets what that revision had as a new revision, judged as a `PUT` of it would be today. A removal is repeated.
#[utoipa::path(post, path = "/v1/spreads/{scope}/rollback", operation_id = "rollbackSpread", tag = "spreads",
    security(("bearer" = [])), params(ScopeParam, Condition), request_body = RollbackForm,
    responses(
        (status = 200, description = "It is as it was.", body = SpreadView,
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 201, description = "It is as it was; none was set.", body = SpreadView,
            headers(("ETag" = String, description = "The revision, quoted."))),
        (status = 202, description = "It will be as it was at the time that `effectiveFrom` says.", body = ScheduledView,
            headers(("Location" = String, description = "Where the change to come is."))),
        (status = 204, description = "It is removed, as it was then."),
        (status = 404, description = "The scope has no such revision, or is none.", body = ProblemDocument,
            content_type = "application/problem+json"),
        (status = 409, description = "It was removed then, and none is set; or as many changes are to come as can be.", body = ProblemDocument,
            content_type = "application/problem+json"),
        (status = 412, description = "The condition does not hold.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
        v1::Body,
    ))]
pub(crate) async fn rollback(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    let (admin, body) = body::read_from::<_, _, Problem, _>(|| accounts::admin(&app, &caller), request).await?;
    let scope = handlers::scope(path)?;
    let Rollback { revision, reason, effective_from } = form::rollback(&body, app.ctx.clock().wall())?;
    // What a revision had never changes, so it may be read before the change begins.
    let changes = app.backend()?.store.spread_changes(scope, revision, 1).await.map_err(|error| app.refuse(&error))?;
    let wanted = changes.into_iter().find(|change| change.revision == revision);
    let wanted = wanted.ok_or_else(|| Problem::not_found(format!("{scope} has no revision {revision}")))?;
    let actor = Actor::new(&admin, &caller).because(reason.as_deref());
    let rule = wanted.new.map(Rule::from_markup);
    handlers::make(&app, actor, scope, rule, effective_from, &condition).await.map_err(|error| match error {
        ChangeError::Missing => {
            Problem::new(StatusCode::CONFLICT, format!("no spread is set for {scope}, as in revision {revision}"))
        }
        error => handlers::refusal(scope, error),
    })
}
