//! Logging in and out under `/v1`: a short access token, and a refresh token that is good once.
//!
//! Both belong to a session, and are dead when it ends. Its end moves with each renewal, up to the longest life.

use std::time::Duration;

use axum::{
    Json,
    body::HttpBody,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_model::Timestamp;
use ratebus_sdk::ProblemDocument;
use serde::{Deserialize, Serialize};
use tracing::field::display;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    NotAdmin, authenticate, form,
    handlers::{in_time, log, log_in},
    manage::{complete, failed},
    masked,
    refresh::RefreshToken,
};
use crate::{
    body,
    caller::Caller,
    openapi::v1,
    problem::Problem,
    state::{App, Shared},
    store::{Renewal, Spent, User},
};

/// How long a session lasts that is not renewed.
const IDLE: Duration = Duration::from_hours(7 * 24);
/// How long a session lasts however often it is renewed.
const LONGEST: Duration = Duration::from_hours(30 * 24);

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// Of the access token.
    expires_at: Timestamp,
    /// Good once.
    refresh_token: String,
    refresh_expires_at: Timestamp,
}

/// What a login takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`form::credentials` reads it")]
struct Credentials {
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    email: String,
    #[schema(format = Password, min_length = 8, max_length = 256, example = "correct horse")]
    password: String,
}

/// Which session.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "`form::refresh_token` reads it")]
struct Refresh {
    /// The newest one of the session.
    refresh_token: String,
}

/// Log in, for a short token and one to refresh it
#[utoipa::path(post, path = "/v1/auth/login", operation_id = "logIn", tag = "accounts", request_body = Credentials, responses(
    (status = 200, description = "Logged in.", body = Tokens),
    (status = 401, description = "No account has this address and this password.", body = ProblemDocument,
        content_type = "application/problem+json"),
    v1::Body,
    v1::Throttled,
    v1::Stored,
))]
pub(crate) async fn login(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let shown = form::credentials(&body::read(request).await?)?;
    in_time(async {
        let Some((user, attempt)) = log_in::<Problem>(&app, &caller, shown).await? else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no account has this address and this password"));
        };
        let tokens = start(&app, &user).await?;
        attempt.succeeded(&app).await?;
        Ok(Json(tokens).into_response())
    })
    .await
}

/// New tokens for a refresh token
///
/// A refresh token is good once: sending one that was used ends its session for everybody.
#[utoipa::path(post, path = "/v1/auth/refresh", operation_id = "refresh", tag = "accounts", request_body = Refresh,
    responses(
        (status = 200, description = "The session goes on.", body = Tokens),
        (status = 401, description = "The refresh token is not good.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Body,
        v1::Stored,
    ))]
pub(crate) async fn refresh(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let shown = form::refresh_token(&body::read(request).await?)?;
    let shown = RefreshToken::parse(&shown).ok_or_else(invalid)?;
    Ok(Json(complete(renew(app, caller, shown)).await?).into_response())
}

/// Log out
///
/// Ends the session whose refresh token is in the body, or without a body that of the bearer token.
#[utoipa::path(post, path = "/v1/auth/logout", operation_id = "logOut", tag = "accounts",
    security((), ("bearer" = [])), request_body = Option<Refresh>,
    responses(
        (status = 204, description = "The session has ended, and both its tokens with it."),
        v1::Session,
        v1::Body,
    ))]
pub(crate) async fn logout(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    if request.body().is_end_stream() {
        let session = authenticate(&app, &caller).await.map_err(NotAdmin::NotLoggedIn)?;
        app.backend()?.store.delete_session(&session.id).await.map_err(failed(&app))?;
        log(&caller, &session.user.email, "ok", "logout");
    } else {
        let shown = form::refresh_token(&body::read(request).await?)?;
        let shown = RefreshToken::parse(&shown).ok_or_else(invalid)?;
        complete(end(app, caller, shown)).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn start(app: &App, user: &User) -> Result<Tokens, Problem> {
    let (now, session) = (app.ctx.clock().wall(), Uuid::new_v4().to_string());
    let (refresh, ends) = (RefreshToken::first().map_err(broken)?, now.plus(IDLE));
    let started = app.backend()?.store.insert_session(&session, user, now, ends, Some(&refresh.hashes())).await;
    if !started.map_err(failed(app))? {
        return Err(Problem::unavailable("the account was changed at the same time; please try again"));
    }
    tokens(app, user, &session, &refresh, now, ends)
}

async fn renew(app: Shared, caller: Caller, shown: RefreshToken) -> Result<Tokens, Problem> {
    let (now, next) = (app.ctx.clock().wall(), shown.next().map_err(broken)?);
    let renewal = Renewal { token: next.hashes().token, idle: IDLE, absolute: LONGEST };
    let spent = app.backend()?.store.spend(&shown.hashes(), Some(renewal), now).await.map_err(failed(&app))?;
    let result = match &spent {
        Spent::Good { .. } => "ok",
        Spent::Reused(_) => "reused",
        Spent::Unknown => "refused",
    };
    metrics::counter!("ratebus_refreshes_total", "result" => result).increment(1);
    let (user, session, ends) = good(spent, &caller)?;
    tokens(&app, &user, &session, &next, now, ends)
}

async fn end(app: Shared, caller: Caller, shown: RefreshToken) -> Result<(), Problem> {
    let now = app.ctx.clock().wall();
    let spent = app.backend()?.store.spend(&shown.hashes(), None, now).await.map_err(failed(&app))?;
    let (user, ..) = good(spent, &caller)?;
    log(&caller, &user.email, "ok", "logout");
    Ok(())
}

/// The session that a good token was of. That another one was used before is in the log: its owner should know.
fn good(spent: Spent, caller: &Caller) -> Result<(User, String, Timestamp), Problem> {
    match spent {
        Spent::Good { user, session, expires_at } => Ok((user, session, expires_at)),
        Spent::Reused(user) => {
            let (event, account, peer) = ("token_reuse", masked(&user.email), caller.peer.map(display));
            let request_id = caller.request_id.as_deref();
            tracing::warn!(event, account, peer, request_id, "a refresh token was used twice: its session was ended");
            Err(invalid())
        }
        Spent::Unknown => Err(invalid()),
    }
}

fn tokens(
    app: &App,
    user: &User,
    session: &str,
    refresh: &RefreshToken,
    now: Timestamp,
    refresh_expires_at: Timestamp,
) -> Result<Tokens, Problem> {
    let backend = app.backend()?;
    let until = now.plus(backend.access_token_ttl).min(refresh_expires_at);
    let (access_token, expires_at) = backend.tokens.issue(&user.id, session, now, until).map_err(broken)?;
    Ok(Tokens { access_token, expires_at, refresh_token: refresh.expose().to_owned(), refresh_expires_at })
}

fn invalid() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "the refresh token is not valid")
}

fn broken(error: impl std::error::Error) -> Problem {
    tracing::error!(%error, "cannot make a token");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong")
}
