//! Accounts: registering, logging in and out, and who a request comes from.

mod bearer;
mod handlers;
mod password;
mod signing_key;
mod token;
mod validate;

use axum::http::{HeaderMap, StatusCode};
pub(crate) use bearer::{AuthError, Session, authenticate};
pub(crate) use handlers::{login, logout, register};
pub(crate) use password::{Busy, Hasher};
pub(crate) use token::Tokens;
pub(crate) use validate::{canonical_email, is_email, password_fault};

use crate::{
    envelope::Failure,
    problem::Problem,
    state::App,
    store::{Role, User},
};

/// The admin that a request under `/v1` comes from.
pub(crate) async fn admin(app: &App, headers: &HeaderMap) -> Result<User, Problem> {
    match authenticate(app, headers).await {
        Ok(Session { user, .. }) if user.role == Role::Admin => Ok(user),
        Ok(session) => {
            log_refused_admin(&session.user, headers);
            Err(Problem::new(StatusCode::FORBIDDEN, "only an administrator may do this"))
        }
        Err(AuthError::NotLoggedIn) => Err(Problem::new(StatusCode::UNAUTHORIZED, "a valid bearer token is required")),
        Err(AuthError::Unavailable(error)) => Err(error.into()),
    }
}

/// The admin that a request to the original's routes comes from. They do not tell who is missing from who may not.
pub(crate) async fn original_admin(app: &App, headers: &HeaderMap) -> Result<User, Failure> {
    let unauthorized = || Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized access");
    match authenticate(app, headers).await {
        Ok(Session { user, .. }) if user.role == Role::Admin => Ok(user),
        Ok(session) => {
            log_refused_admin(&session.user, headers);
            Err(unauthorized())
        }
        Err(AuthError::NotLoggedIn) => Err(unauthorized()),
        Err(AuthError::Unavailable(error)) => Err(error.into()),
    }
}

fn log_refused_admin(user: &User, headers: &HeaderMap) {
    let request_id = crate::request_id::request_id(headers);
    tracing::warn!(account = masked(&user.email), request_id, "an account that is no administrator's was refused");
}

/// An address for the log: enough to recognise one's own.
pub(crate) fn masked(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap_or((email, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}
