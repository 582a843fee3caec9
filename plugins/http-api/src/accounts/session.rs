use crate::{
    caller::Caller,
    state::{App, Unavailable},
    store::User,
};

/// A session that has not ended, and whose it is.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: User,
}

/// Why a request comes from nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// No token, a bad one, one that ran out, or one whose session has ended. Which of them is nobody's business.
    NotLoggedIn,
    /// It could not be checked.
    Unavailable(Unavailable),
}

/// The session of the caller's token. It, the role and the account's state are read from the database each time:
/// logging out and losing a role take effect at once.
pub(crate) async fn authenticate(app: &App, caller: &Caller) -> Result<Session, AuthError> {
    let backend = app.backend().map_err(AuthError::Unavailable)?;
    let now = app.ctx.clock().wall();
    let claims = caller.token.as_ref().and_then(|token| backend.tokens.check(token, now));
    let claims = claims.ok_or(AuthError::NotLoggedIn)?;
    match backend.store.session_user(&claims.sid, &claims.sub, now).await {
        Ok(Some(user)) => Ok(Session { id: claims.sid, user }),
        Ok(None) => Err(AuthError::NotLoggedIn),
        Err(error) => Err(AuthError::Unavailable(app.refuse(&error))),
    }
}
