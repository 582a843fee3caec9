use std::collections::HashSet;

use ratebus_model::Timestamp;

use super::{
    RefreshHashes, Store, StoreError, User,
    session::Write,
    statement::sql,
    users::{UserRow, from_row},
};

/// How many sessions an account has at most.
const MOST: usize = 100;
/// How many are ended by one statement.
const AT_ONCE: usize = 500;

impl Store {
    /// Starts a session, and forgets those that have ended: by themselves, or as the account's oldest because it has as
    /// many as it may have. `false`: the account was disabled or has got another
    /// password since `user` was read. A login that was under way then does not outlast it. With `refresh` it can be
    /// renewed.
    pub(crate) async fn insert_session(
        &self,
        id: &str,
        user: &User,
        now: Timestamp,
        expires_at: Timestamp,
        refresh: Option<&RefreshHashes>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let unchanged = sql("SELECT COUNT(*) FROM users WHERE id = $1 AND password_hash = $2 AND disabled = 0");
        if unchanged.bind(&user.id).bind(&user.password_hash).count(&mut tx).await? == 0 {
            return Ok(false);
        }
        sql("DELETE FROM sessions WHERE expires_at < $1").bind(now).execute(&mut tx).await?;
        end_oldest(&mut tx, &user.id).await?;
        sql("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(&user.id)
            .bind(now)
            .bind(expires_at)
            .execute(&mut tx)
            .await?;
        if let Some(RefreshHashes { family, token }) = refresh {
            let insert = sql("INSERT INTO refresh_tokens (family, token, session_id) VALUES ($1, $2, $3)");
            insert.bind(family).bind(token).bind(id).execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Whose session it is, if it has not ended and its account is not disabled. The role is the one of this moment.
    pub(crate) async fn session_user(
        &self,
        id: &str,
        user_id: &str,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let query = sql("SELECT users.id, email, role, disabled, password_hash FROM sessions \
                         JOIN users ON users.id = sessions.user_id \
                         WHERE sessions.id = $1 AND users.id = $2 AND expires_at > $3 AND disabled = 0");
        let row: Option<UserRow> = query.bind(id).bind(user_id).bind(now).optional(&mut self.read().await?).await?;
        row.map(from_row).transpose()
    }

    /// Which of these sessions have not ended, and are of no disabled account. At most a few hundred at once.
    pub(crate) async fn live_sessions(&self, ids: &[String], now: Timestamp) -> Result<HashSet<String>, StoreError> {
        let query = sql("SELECT sessions.id FROM sessions JOIN users ON users.id = sessions.user_id \
                         WHERE disabled = 0 AND expires_at > $1 AND sessions.id IN ");
        let rows = query.bind(now).bind_list(ids).all(&mut self.read().await?).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Ends a session.
    pub(crate) async fn delete_session(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sql("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Makes room for one more session of an account. Read first: MySQL deletes from no table that the same statement reads.
async fn end_oldest(tx: &mut Write, user_id: &str) -> Result<(), StoreError> {
    let newest_first = sql("SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id");
    let ids: Vec<(String,)> = newest_first.bind(user_id).all(tx).await?;
    let oldest: Vec<String> = ids.into_iter().skip(MOST - 1).map(|(id,)| id).collect();
    for ids in oldest.chunks(AT_ONCE) {
        sql("DELETE FROM sessions WHERE id IN ").bind_list(ids).execute(tx).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    #[tokio::test]
    async fn a_login_under_way_does_not_outlast_a_new_password() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("ratebus.db").display());
        let store = Store::open(&url.parse().unwrap()).await.unwrap();
        store.migrate().await.unwrap();
        let (now, later) = (Timestamp::from_micros(1), Timestamp::from_micros(2));
        let new = NewUser {
            id: "1",
            email: "ann@example.com",
            first_name: "Ann",
            last_name: "Other",
            role: Role::User,
            password_hash: "old",
            created_at: now,
        };
        assert!(store.insert_user(&new).await.unwrap());
        let read = async || store.user_by_email("ann@example.com").await.unwrap().unwrap();

        let before = read().await;
        assert!(store.change_password("1", "old", "new", None).await.unwrap());
        assert!(!store.insert_session("a", &before, now, later, None).await.unwrap());
        assert!(store.insert_session("b", &read().await, now, later, None).await.unwrap());
        let before = read().await;
        let disable = AccountChange { role: None, disabled: Some(true) };
        assert!(matches!(store.change_account("1", disable).await.unwrap(), Changed::Done(_)));
        assert!(!store.insert_session("c", &before, now, later, None).await.unwrap());
    }
}
