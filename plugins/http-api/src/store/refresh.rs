use std::time::Duration;

use ratebus_model::Timestamp;

use super::{
    Store, StoreError, User,
    session::Session,
    statement::sql,
    users::{UserRow, from_row},
};

/// What is stored of a refresh token: hashes, with which nobody can renew a session.
pub(crate) struct RefreshHashes {
    /// Of what all tokens of a session begin with.
    pub(crate) family: String,
    /// Of the whole token.
    pub(crate) token: String,
}

/// What becomes of a session that is renewed.
pub(crate) struct Renewal {
    /// The hash of the token that takes the place of the used one.
    pub(crate) token: String,
    /// The session ends when it is not renewed for so long,
    pub(crate) idle: Duration,
    /// and so long after its start.
    pub(crate) absolute: Duration,
}

/// What a refresh token was good for.
pub(crate) enum Spent {
    /// It was the good one of this session, which ends at that time, or has ended if it was not renewed.
    Good { user: User, session: String, expires_at: Timestamp },
    /// It had been used before, or was made up by somebody who knows one of its family: a thief has it, or its owner
    /// comes after one. The session has ended for both.
    Reused(User),
    /// Of no session that goes on.
    Unknown,
}

/// The session of a family of tokens.
struct Renewable {
    session: String,
    started_at: Timestamp,
    /// The hash of the good token.
    token: String,
    user: User,
}

impl Store {
    /// Uses up a refresh token: renews its session, or ends it if there is no `renewal`. Of several uses at once one is
    /// the first, and the next one ends the session.
    pub(crate) async fn spend(
        &self,
        shown: &RefreshHashes,
        renewal: Option<Renewal>,
        now: Timestamp,
    ) -> Result<Spent, StoreError> {
        // Looked at first without the lock that writers need: made up tokens must not keep them waiting.
        if select(&mut self.read().await?, &shown.family, now).await?.is_none() {
            return Ok(Spent::Unknown);
        }
        let mut tx = self.write().await?;
        let Some(found) = select(&mut tx, &shown.family, now).await? else { return Ok(Spent::Unknown) };
        let Renewable { session, started_at, token, user } = found;
        let is_good = token == shown.token;
        let Some(Renewal { token, idle, absolute }) = renewal.filter(|_| is_good) else {
            sql("DELETE FROM sessions WHERE id = $1").bind(&session).execute(&mut tx).await?;
            tx.commit().await?;
            return Ok(if is_good { Spent::Good { user, session, expires_at: now } } else { Spent::Reused(user) });
        };
        let expires_at = now.plus(idle).min(started_at.plus(absolute));
        let update = sql("UPDATE refresh_tokens SET token = $1 WHERE family = $2");
        update.bind(token).bind(&shown.family).execute(&mut tx).await?;
        let update = sql("UPDATE sessions SET expires_at = $1 WHERE id = $2");
        update.bind(expires_at).bind(&session).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(Spent::Good { user, session, expires_at })
    }
}

/// The session of a family, if it has not ended and its account is not disabled.
async fn select(from: &mut Session, family: &str, now: Timestamp) -> Result<Option<Renewable>, StoreError> {
    type Row = (String, i64, String, String, String, String, i64, String);
    let query = sql("SELECT sessions.id, sessions.created_at, token, users.id, email, role, disabled, password_hash \
         FROM refresh_tokens \
         JOIN sessions ON sessions.id = refresh_tokens.session_id \
         JOIN users ON users.id = sessions.user_id \
         WHERE family = $1 AND expires_at > $2 AND disabled = 0");
    let row: Option<Row> = query.bind(family).bind(now).optional(from).await?;
    let Some((session, started_at, token, id, email, role, disabled, hash)) = row else { return Ok(None) };
    let user: UserRow = (id, email, role, disabled, hash);
    Ok(Some(Renewable { session, started_at: Timestamp::from_micros(started_at), token, user: from_row(user)? }))
}
