use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use ratebus_model::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::field::display;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AuthError, Busy, Turn, authenticate, masked,
    throttle::{Attempt, Refused},
    validate::{self, Credentials},
};
use crate::{
    body,
    caller::Caller,
    envelope::{Done, Failed, Failure, Fault, Success, done, success},
    json::Fields,
    openapi::original,
    state::{App, Shared, Unavailable},
    store::{NewUser, Role, User},
};

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a registration takes. Other members are ignored, save for those that would give rights or a state: they are
/// refused.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "`validate::registration` reads it, so that each fault has the original's words")]
struct Registration {
    #[schema(min_length = 1, max_length = 100, example = "Ann")]
    first_name: String,
    #[schema(min_length = 1, max_length = 100, example = "Other")]
    last_name: String,
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    email: String,
    /// Not a common one, nor little more than the name or the address.
    #[schema(format = Password, min_length = 8, max_length = 256, example = "correct horse")]
    password: String,
    /// The password again.
    #[schema(format = Password, example = "correct horse")]
    confirm_password: String,
}

/// What a login takes.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "`validate::credentials` reads it")]
struct Login {
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    email: String,
    #[schema(format = Password, min_length = 8, max_length = 256, example = "correct horse")]
    password: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Registered<'a> {
    first_name: &'a str,
    last_name: &'a str,
    email: &'a str,
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct LoggedIn<'a> {
    email: &'a str,
    token: Bearer,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Bearer {
    #[schema(pattern = "^bearer$")]
    r#type: &'static str,
    /// For `Authorization: Bearer …`.
    token: String,
    expires_at: Timestamp,
}

impl From<Busy> for Failure {
    fn from(_: Busy) -> Self {
        Self::unavailable("Too many logins at once, please try again")
    }
}

/// Make an account
#[utoipa::path(post, path = "/register", operation_id = "register", tag = "accounts", request_body = Registration,
    responses(
        (status = 200, description = "It is made; now log in.", body = Success<Registered>),
        original::Body,
        original::Throttled,
        original::Stored,
    ))]
pub(crate) async fn register(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Failure> {
    let backend = app.backend()?;
    let body = body::read(request).await?;
    let fields = Fields::parse(&body).map_err(Failure::unreadable)?;
    let new = validate::registration(&fields, &backend.passwords).map_err(Failure::invalid)?;
    let (attempt, mut turn) = Attempt::registration(&app, &caller).await?;
    // Hashed before the address is looked at, so that one that is taken takes as long as one that is free.
    let password_hash = attempt.made(&app, turn.hash(new.password).await).await?;
    drop(turn);
    let created_at = app.ctx.clock().wall();
    let user = NewUser {
        id: &Uuid::now_v7().to_string(),
        email: &new.email,
        first_name: &new.first_name,
        last_name: &new.last_name,
        role: Role::User,
        password_hash: &password_hash,
        created_at,
    };
    let inserted = backend.store.insert_user(&user).await.map_err(|error| app.refuse(&error))?;
    let result = if inserted { "ok" } else { "taken" };
    metrics::counter!("ratebus_registrations_total", "result" => result).increment(1);
    log(&caller, &new.email, result, "registration");
    attempt.log(&caller, &new.email);
    if !inserted {
        return Err(Failure::invalid(vec![Fault::new("unique", "email", "The email is already taken")]));
    }
    let (first_name, last_name, email) = (&new.first_name, &new.last_name, &new.email);
    Ok(success("Registered successfully", Registered { first_name, last_name, email, created_at }))
}

/// Log in, for a long token
///
/// The token lasts for 5 hours (`token_ttl`); `/v1/auth/login` gives short ones. An unknown address, a wrong password and
/// a disabled account get one answer, after one time.
#[utoipa::path(post, path = "/login", operation_id = "login", tag = "accounts", request_body = Login, responses(
    (status = 200, description = "Logged in.", body = Success<LoggedIn>),
    (status = 401, description = "No account has this address and this password.", body = Failed),
    original::Body,
    original::Throttled,
    original::Stored,
))]
pub(crate) async fn login(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Failure> {
    let body = body::read(request).await?;
    let fields = Fields::parse(&body).map_err(Failure::unreadable)?;
    let shown = validate::credentials(&fields).map_err(Failure::invalid)?;
    in_time(async {
        let Some((user, attempt)) = log_in::<Failure>(&app, &caller, shown).await? else {
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "Invalid credentials"));
        };
        let token = start_session(&app, &user).await?;
        attempt.succeeded(&app).await?;
        Ok(success("You're loggedin", LoggedIn { email: &user.email, token }))
    })
    .await
}

/// Gives a login up that takes too long: each step waits for its turn, and when many people log in that adds up. It
/// counts as failed then, which is the safe side.
pub(super) async fn in_time<T, E: From<Busy>>(login: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    timeout(PATIENCE, login).await.unwrap_or_else(|_| {
        metrics::counter!("ratebus_logins_given_up_total").increment(1);
        Err(Busy.into())
    })
}

/// The account that somebody logs in to, if they may. Counted and logged; for the refusals of either family of routes.
pub(super) async fn log_in<E: From<Refused> + From<Unavailable> + From<Busy>>(
    app: &App,
    caller: &Caller,
    shown: Credentials,
) -> Result<Option<(User, Attempt)>, E> {
    let (attempt, turn) = Attempt::login(app, caller, &shown.email).await?;
    let user = attempt.made(app, verified::<E>(app, turn, &shown.email, shown.password).await).await?;
    let result = if user.is_some() { "ok" } else { "refused" };
    metrics::counter!("ratebus_logins_total", "result" => result).increment(1);
    log(caller, &shown.email, result, "login");
    if user.is_none() {
        attempt.log(caller, &shown.email);
    }
    Ok(user.map(|user| (user, attempt)))
}

/// The account of these credentials, if they are right and it is not disabled. A hash that was made with older
/// parameters is made anew, now that the password is known.
async fn verified<E: From<Unavailable> + From<Busy>>(
    app: &App,
    mut turn: Turn<'_>,
    email: &str,
    password: SecretString,
) -> Result<Option<User>, E> {
    let backend = app.backend()?;
    let user = backend.store.user_by_email(email).await.map_err(|error| app.refuse(&error))?;
    let outdated = |user: &&mut User| backend.hasher.is_outdated(&user.password_hash);
    let hash = user.as_ref().map(|user| user.password_hash.as_str());
    let right = turn.verify(password.clone(), hash).await?;
    let mut user = user.filter(|user| right && !user.disabled);
    if let Some(User { id, password_hash, .. }) = user.as_mut().filter(outdated) {
        let new = turn.hash(password).await?;
        backend.store.replace_password_hash(id, password_hash, &new).await.map_err(|error| app.refuse(&error))?;
        *password_hash = new;
    }
    Ok(user)
}

async fn start_session(app: &App, user: &User) -> Result<Bearer, Failure> {
    let backend = app.backend()?;
    let (now, session) = (app.ctx.clock().wall(), Uuid::new_v4().to_string());
    let until = now.plus(backend.token_ttl);
    let (token, expires_at) = backend.tokens.issue(&user.id, &session, now, until).map_err(|error| {
        tracing::error!(%error, "a login failed");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong")
    })?;
    let started = backend.store.insert_session(&session, user, now, expires_at, None).await;
    if !started.map_err(|error| app.refuse(&error))? {
        return Err(Failure::unavailable("The account was changed at the same time, please try again"));
    }
    Ok(Bearer { r#type: "bearer", token, expires_at })
}

/// Log out
///
/// Ends the token's session, at once and for every instance.
#[utoipa::path(delete, path = "/logout", operation_id = "logout", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, description = "Logged out.", body = Done),
    (status = 400, description = "There is no valid bearer token.", body = Failed),
    original::Stored,
))]
pub(crate) async fn logout(State(app): State<Shared>, caller: Caller) -> Result<Response, Failure> {
    let session = authenticate(&app, &caller).await.map_err(|error| match error {
        AuthError::NotLoggedIn => Failure::new(StatusCode::BAD_REQUEST, "You're not loggedin"),
        AuthError::Unavailable(error) => error.into(),
    })?;
    app.backend()?.store.delete_session(&session.id).await.map_err(|error| app.refuse(&error))?;
    log(&caller, &session.user.email, "ok", "logout");
    Ok(done("You're now logged out!"))
}

/// One line for each event, with who, what and from where.
pub(super) fn log(caller: &Caller, email: &str, result: &str, event: &str) {
    let (account, peer, words) = (masked(email), caller.peer.map(display), event.replace('_', " "));
    tracing::info!(event, account, result, peer, request_id = caller.request_id, "{words}");
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_login_is_waited_for_without_end() {
        let asked = Instant::now();
        assert_eq!(in_time(pending::<Result<(), Busy>>()).await, Err(Busy));
        assert_eq!(asked.elapsed(), PATIENCE);
        assert_eq!(in_time(async { Ok::<_, Busy>(1) }).await, Ok(1));
    }
}
