//! One's own account.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_sdk::FieldProblem;

use super::{
    AuthError, Busy, NotAdmin, Session, authenticate, form,
    handlers::log,
    manage::{complete, failed},
    throttle::Attempt,
};
use crate::{
    body,
    caller::Caller,
    problem::Problem,
    state::{App, Shared},
    store::Account,
};

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::unavailable("too many passwords are being checked; try again in a moment")
    }
}

/// `GET /v1/me`.
pub(crate) async fn get(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    let session = session(&app, &caller).await?;
    Ok(Json(account(&app, &session).await?).into_response())
}

/// `PATCH /v1/me`.
pub(crate) async fn patch(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let session = session(&app, &caller).await?;
    let names = form::names(&body::read(request).await?)?;
    let store = &app.backend()?.store;
    let renamed = store.rename(&session.user.id, names.first.as_deref(), names.last.as_deref()).await;
    Ok(Json(renamed.map_err(failed(&app))?.ok_or_else(nobody)?).into_response())
}

/// `POST /v1/me/password`: needs the current one, so that a session left open is not enough to take an account over,
/// and ends every other session, so that whoever has stolen one is out.
pub(crate) async fn password(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let session = session(&app, &caller).await?;
    let own = account(&app, &session).await?;
    let backend = app.backend()?;
    let words = [own.first_name.as_str(), &own.last_name, &own.email];
    let asked = form::password_change(&body::read(request).await?, &backend.passwords, own.role, &words)?;
    let attempt = Attempt::login(&app, &caller, &own.email).await?;
    let right = backend.hasher.verify(asked.current, Some(&session.user.password_hash)).await;
    if !attempt.made(&app, right).await? {
        told(&caller, &session, "refused");
        attempt.log(&caller, &own.email);
        let message = "is not the password of this account".to_owned();
        return Err(Problem::fields(vec![FieldProblem { field: "currentPassword".to_owned(), message }]));
    }
    attempt.succeeded(&app).await?;
    let hash = backend.hasher.hash(asked.new).await?;
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
