//! Accounts: registering, logging in and out, who a request comes from, and what becomes of them.

pub(crate) mod auth;
mod common;
mod form;
pub(crate) mod handlers;
pub(crate) mod manage;
pub(crate) mod me;
mod password;
mod policy;
mod quota;
mod refresh;
mod session;
mod sha256;
mod signing_key;
mod throttle;
mod token;
mod validate;
mod watch;

use axum::http::StatusCode;
pub(crate) use password::{Busy, Hasher, Turn};
pub(crate) use policy::FLOOR as SHORTEST_PASSWORD;
pub use policy::{HashCost, PasswordPolicy};
pub(crate) use quota::{QuotaSlot, limited};
pub(crate) use session::{AuthError, Session, authenticate};
pub(crate) use signing_key::problem as signing_key_problem;
pub(crate) use throttle::{Limits, MOST_FAILURES};
pub(crate) use token::Tokens;
pub(crate) use validate::{canonical_email, is_email};
pub(crate) use watch::{Watch, watch};

use tracing::field::display;

use crate::{
    caller::Caller,
    envelope::Failure,
    problem::Problem,
    state::App,
    store::{Role, User},
};

/// Why a request does not come from an administrator.
pub(crate) enum NotAdmin {
    /// From nobody, or it could not be checked.
    NotLoggedIn(AuthError),
    /// From somebody else.
    NotAllowed,
}

/// The administrator that a request comes from.
pub(crate) async fn admin(app: &App, caller: &Caller) -> Result<User, NotAdmin> {
    let Session { user, .. } = authenticate(app, caller).await.map_err(NotAdmin::NotLoggedIn)?;
    if user.role == Role::Admin {
        return Ok(user);
    }
    let (event, account, peer) = ("admin_refused", masked(&user.email), caller.peer.map(display));
    let request_id = caller.request_id.as_deref();
    tracing::warn!(event, account, peer, request_id, "an account that is no administrator's was refused");
    Err(NotAdmin::NotAllowed)
}

impl From<NotAdmin> for Problem {
    fn from(error: NotAdmin) -> Self {
        match error {
            NotAdmin::NotLoggedIn(AuthError::Unavailable(error)) => error.into(),
            NotAdmin::NotLoggedIn(AuthError::NotLoggedIn) => {
                Self::new(StatusCode::UNAUTHORIZED, "a valid bearer token is required")
            }
            NotAdmin::NotAllowed => Self::new(StatusCode::FORBIDDEN, "only an administrator may do this"),
        }
    }
}

/// The original did not tell who is missing from who may not.
impl From<NotAdmin> for Failure {
    fn from(error: NotAdmin) -> Self {
        match error {
            NotAdmin::NotLoggedIn(AuthError::Unavailable(error)) => error.into(),
            NotAdmin::NotLoggedIn(AuthError::NotLoggedIn) | NotAdmin::NotAllowed => {
                Self::new(StatusCode::UNAUTHORIZED, "Unauthorized access")
            }
        }
    }
}

/// An address for the log: enough to recognise one's own.
pub(crate) fn masked(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap_or((email, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}
