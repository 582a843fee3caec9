//! One's own account.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_sdk::{FieldProblem, ProblemDocument};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    AuthError, Busy, NotAdmin, Session, authenticate, form,
    handlers::log,
    manage::{complete, failed},
    throttle::Attempt,
};
use crate::{
    body,
    caller::Caller,
    openapi::v1,
    problem::Problem,
    state::{App, Shared},
    store::Account,
};

/// New names, either or both.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "`form::names` reads it")]
struct Names {
    #[schema(min_length = 1, max_length = 100, nullable = false, example = "Ann")]
    first_name: Option<String>,
    #[schema(min_length = 1, max_length = 100, nullable = false, example = "Other")]
    last_name: Option<String>,
}

/// A new password, and the one there is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "`form::password_change` reads it")]
struct PasswordChange {
    #[schema(format = Password, example = "correct horse")]
    current_password: String,
    /// An administrator's has 15 characters or more.
    #[schema(format = Password, min_length = 8, max_length = 256, example = "battery staple correct")]
    new_password: String,
}

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::unavailable("too many passwords are being checked; try again in a moment")
    }
}

/// One's own account
#[utoipa::path(get, path = "/v1/me", operation_id = "getMe", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, description = "Whose token it is.", body = Account),
    v1::Session,
))]
pub(crate) async fn get(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    let session = session(&app, &caller).await?;
    Ok(Json(account(&app, &session).await?).into_response())
}

/// Change one's own name
#[utoipa::path(patch, path = "/v1/me", operation_id = "patchMe", tag = "accounts", security(("bearer" = [])),
    request_body = Names,
    responses(
        (status = 200, description = "The account as it is now.", body = Account),
        v1::Session,
        v1::Body,
    ))]
pub(crate) async fn patch(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (session, body) = body::read_from::<_, _, Problem, _>(|| session(&app, &caller), request).await?;
    let names = form::names(&body)?;
    let store = &app.backend()?.store;
    let renamed = store.rename(&session.user.id, names.first.as_deref(), names.last.as_deref()).await;
    Ok(Json(renamed.map_err(failed(&app))?.ok_or_else(nobody)?).into_response())
}

/// Change one's own password
///
/// Needs the current one, so that a session left open is not enough to take an account over, and ends every other session,
/// so that whoever has stolen one is out.
#[utoipa::path(post, path = "/v1/me/password", operation_id = "changePassword", tag = "accounts",
    security(("bearer" = [])), request_body = PasswordChange,
    responses(
        (status = 204, description = "It is changed."),
        (status = 409, description = "It was changed at the same time.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Session,
        v1::Body,
        v1::Throttled,
    ))]
pub(crate) async fn password(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (session, body) = body::read_from::<_, _, Problem, _>(|| session(&app, &caller), request).await?;
    let own = account(&app, &session).await?;
    let backend = app.backend()?;
    let words = [own.first_name.as_str(), &own.last_name, &own.email];
    let asked = form::password_change(&body, &backend.passwords, own.role, &words)?;
    let (attempt, mut turn) = Attempt::login(&app, &caller, &own.email).await?;
    let right = turn.verify(asked.current, Some(&session.user.password_hash)).await;
    if !attempt.made(&app, right).await? {
        told(&caller, &session, "refused");
        attempt.log(&caller, &own.email);
        let message = "is not the password of this account".to_owned();
        return Err(Problem::fields(vec![FieldProblem { field: "currentPassword".to_owned(), message }]));
    }
    attempt.succeeded(&app).await?;
    let hash = turn.hash(asked.new).await?;
    drop(turn);
    complete(replace(app.clone(), caller, session, hash)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn replace(app: Shared, caller: Caller, session: Session, hash: String) -> Result<(), Problem> {
    let Session { id, user } = &session;
    let changed = app.backend()?.store.change_password(&user.id, &user.password_hash, &hash, Some(id)).await;
    if !changed.map_err(failed(&app))? {
        told(&caller, &session, "outrun");
        return Err(Problem::new(StatusCode::CONFLICT, "the password was changed at the same time"));
    }
    told(&caller, &session, "ok");
    Ok(())
}

/// Counts and logs how a change of a password ended.
fn told(caller: &Caller, session: &Session, result: &'static str) {
    metrics::counter!("ratebus_password_changes_total", "result" => result).increment(1);
    log(caller, &session.user.email, result, "password_change");
}

async fn session(app: &App, caller: &Caller) -> Result<Session, Problem> {
    Ok(authenticate(app, caller).await.map_err(NotAdmin::NotLoggedIn)?)
}

async fn account(app: &App, session: &Session) -> Result<Account, Problem> {
    let account = app.backend()?.store.account(&session.user.id).await.map_err(failed(app))?;
    account.ok_or_else(nobody)
}

/// The account went away since its session was looked at.
fn nobody() -> Problem {
    NotAdmin::NotLoggedIn(AuthError::NotLoggedIn).into()
}
