use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use ratebus_model::Rule;

use super::{
    condition::Condition,
    form::{self, Rollback},
    handlers,
    write::{self, ChangeError},
};
use crate::{accounts, body, caller::Caller, pair::PairPath, problem::Problem, state::Shared, store::Actor};

/// `POST /v1/spreads/{scope}/rollback`: sets what an earlier revision had, as `PUT` would, or removes the spread, as
/// `DELETE` would, if that revision was a removal.
pub(crate) async fn rollback(
    State(app): State<Shared>,
    caller: Caller,
    condition: Condition,
    path: PairPath,
    request: Request,
) -> Result<Response, Problem> {
    let admin = accounts::admin(&app, &caller).await?;
    let scope = handlers::scope(path)?;
    let Rollback { revision, reason } = form::rollback(&body::read(request).await?)?;
    // What a revision had never changes, so it may be read before the change begins.
    let changes = app.backend()?.store.spread_changes(scope, revision, 1).await.map_err(|error| app.refuse(&error))?;
    let wanted = changes.into_iter().find(|change| change.revision == revision);
    let wanted = wanted.ok_or_else(|| Problem::not_found(format!("{scope} has no revision {revision}")))?;
    let actor = Actor::new(&admin, &caller).because(reason.as_deref());
    write::change(&app, actor, &[scope], wanted.new.map(Rule::from_markup), |now| condition.holds(now))
        .await
        .map(handlers::changed)
        .map_err(|error| match error {
            ChangeError::Missing => {
                Problem::new(StatusCode::CONFLICT, format!("no spread is set for {scope}, as in revision {revision}"))
            }
            error => handlers::refusal(scope, error),
        })
}
