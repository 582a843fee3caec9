use ratebus_model::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Role, Store, StoreError,
    session::{Session, Write},
    statement::sql,
};

/// An account as `/v1` shows it: everything but its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(description = "An account.")]
pub(crate) struct Account {
    #[schema(format = "uuid")]
    pub(crate) id: String,
    /// In lower case.
    #[schema(format = Email)]
    pub(crate) email: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) role: Role,
    pub(crate) disabled: bool,
    pub(crate) created_at: Timestamp,
}

/// What is to become of an account; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub(crate) role: Option<Role>,
    pub(crate) disabled: Option<bool>,
}

/// How a change of an account ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The account is like this now.
    Done(Account),
    /// There is no such account.
    Missing,
    /// It would have left nobody who can set spreads. Nothing was changed.
    LastAdmin,
}

/// The columns of an [`Account`].
type AccountRow = (String, String, String, String, String, i64, i64);

impl Account {
    fn is_admin_in_office(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }

    fn after(&self, change: AccountChange) -> Self {
        let role = change.role.unwrap_or(self.role);
        Self { role, disabled: change.disabled.unwrap_or(self.disabled), ..self.clone() }
    }
}

impl Store {
    /// The account of an id.
    pub(crate) async fn account(&self, id: &str) -> Result<Option<Account>, StoreError> {
        select(&mut self.read().await?, id).await
    }

    /// At most `limit` accounts whose ids follow `after` (the first ones for the empty text), in the order of ids. Ids
    /// begin with the time they were made at, so new accounts come last.
    pub(crate) async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        let query = sql("SELECT id, email, first_name, last_name, role, disabled, created_at FROM users \
                         WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = query.bind(after).bind(limit).all(&mut self.read().await?).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Changes an account's names; `None` leaves one as it is. Returns the account, if there is one.
    pub(crate) async fn rename(
        &self,
        id: &str,
        first_name: Option<&str>,
        last_name: Option<&str>,
    ) -> Result<Option<Account>, StoreError> {
        let mut tx = self.write().await?;
        sql(
            "UPDATE users SET first_name = COALESCE($1, first_name), last_name = COALESCE($2, last_name) WHERE id = $3",
        )
        .bind(first_name)
        .bind(last_name)
        .bind(id)
        .execute(&mut tx)
        .await?;
        let account = select(&mut tx, id).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Changes what an account may do. One that becomes disabled loses its sessions.
    ///
    /// Who is the last administrator is judged under the write lock: two that demote each other do not both succeed.
    pub(crate) async fn change_account(&self, id: &str, change: AccountChange) -> Result<Changed, StoreError> {
        let mut tx = self.write().await?;
        let Some(before) = select(&mut tx, id).await? else { return Ok(Changed::Missing) };
        let after = before.after(change);
        let leaves_office = before.is_admin_in_office() && !after.is_admin_in_office();
        if leaves_office && !has_admin_beside(&mut tx, id).await? {
            return Ok(Changed::LastAdmin);
        }
        sql("UPDATE users SET role = $1, disabled = $2 WHERE id = $3")
            .bind(after.role.as_str())
            .bind(after.disabled)
            .bind(id)
            .execute(&mut tx)
            .await?;
        if after.disabled {
            end_sessions(&mut tx, id, None).await?;
        }
        tx.commit().await?;
        Ok(Changed::Done(after))
    }

    /// Puts the hash of another password in the place of `old` and ends every session of the account but `kept`.
    /// `false`: the password was changed meanwhile, and nothing is done.
    pub(crate) async fn change_password(
        &self,
        id: &str,
        old: &str,
        new: &str,
        kept: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let update = sql("UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3");
        if update.bind(new).bind(id).bind(old).execute(&mut tx).await? == 0 {
            return Ok(false);
        }
        end_sessions(&mut tx, id, kept).await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn has_admin_beside(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    let query = sql("SELECT COUNT(*) FROM users WHERE role = $1 AND disabled = 0 AND id <> $2");
    Ok(query.bind(Role::Admin.as_str()).bind(id).count(tx).await? > 0)
}

async fn end_sessions(tx: &mut Write, id: &str, kept: Option<&str>) -> Result<(), StoreError> {
    let delete = sql("DELETE FROM sessions WHERE user_id = $1 AND id <> $2");
    // No session has an empty id.
    delete.bind(id).bind(kept.unwrap_or_default()).execute(tx).await?;
    Ok(())
}

async fn select(from: &mut Session, id: &str) -> Result<Option<Account>, StoreError> {
    let query = sql("SELECT id, email, first_name, last_name, role, disabled, created_at FROM users WHERE id = $1");
    query.bind(id).optional(from).await?.map(from_row).transpose()
}

fn from_row(row: AccountRow) -> Result<Account, StoreError> {
    let (id, email, first_name, last_name, role, disabled, created_at) = row;
    let (role, disabled) = (role.parse()?, disabled != 0);
    Ok(Account { id, email, first_name, last_name, role, disabled, created_at: Timestamp::from_micros(created_at) })
}
