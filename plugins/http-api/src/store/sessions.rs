use ratebus_model::Timestamp;

use super::{
    Store, StoreError, User,
    users::{UserRow, from_row},
};

impl Store {
    /// Starts a session, and forgets those that have ended.
    pub(crate) async fn insert_session(
        &self,
        id: &str,
        user: &User,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(now.micros()).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(&user.id)
            .bind(now.micros())
            .bind(expires_at.micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whose session it is, if it has not ended and its account is not disabled. The role is the one of this moment.
    pub(crate) async fn session_user(
        &self,
        id: &str,
        user_id: &str,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        sqlx::query_as::<_, UserRow>(
            "SELECT users.id, email, role, disabled, password_hash FROM sessions \
             JOIN users ON users.id = sessions.user_id \
             WHERE sessions.id = $1 AND users.id = $2 AND expires_at > $3 AND disabled = 0",
        )
        .bind(id)
        .bind(user_id)
        .bind(now.micros())
        .fetch_optional(self.read().await?)
        .await?
        .map(from_row)
        .transpose()
    }

    /// Ends a session.
    pub(crate) async fn delete_session(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
