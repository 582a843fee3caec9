use std::str::FromStr;

use ratebus_model::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Store, StoreError, statement::sql};

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Have an account.
    User,
    /// Set spreads.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err(StoreError::Corrupt("role")),
        }
    }
}

/// An account. No `Debug`: it holds the password's hash.
pub(crate) struct User {
    pub(crate) id: String,
    /// In its canonical form.
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) disabled: bool,
    /// A PHC string.
    pub(crate) password_hash: String,
}

/// An account to be made.
pub(crate) struct NewUser<'a> {
    pub(crate) id: &'a str,
    pub(crate) email: &'a str,
    pub(crate) first_name: &'a str,
    pub(crate) last_name: &'a str,
    pub(crate) role: Role,
    pub(crate) password_hash: &'a str,
    pub(crate) created_at: Timestamp,
}

/// The columns of a [`User`].
pub(super) type UserRow = (String, String, String, i64, String);

pub(super) fn from_row((id, email, role, disabled, password_hash): UserRow) -> Result<User, StoreError> {
    Ok(User { id, email, role: role.parse()?, disabled: disabled != 0, password_hash })
}

impl Store {
    /// Makes an account. `false`: the address has one already. The constraint decides, not a look before.
    pub(crate) async fn insert_user(&self, user: &NewUser<'_>) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let insert = sql("INSERT INTO users (id, email, first_name, last_name, role, password_hash, created_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7)");
        let insert = insert.bind(user.id).bind(user.email).bind(user.first_name).bind(user.last_name);
        let insert = insert.bind(user.role.as_str()).bind(user.password_hash).bind(user.created_at);
        let inserted = insert.execute(&mut tx).await;
        match inserted {
            Ok(_) => {
                tx.commit().await?;
                Ok(true)
            }
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a new hash of the same password in the place of `old`, unless it was changed meanwhile.
    pub(crate) async fn replace_password_hash(&self, user: &str, old: &str, new: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let update = sql("UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3");
        update.bind(new).bind(user).bind(old).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether anybody can set spreads.
    pub(crate) async fn has_admin(&self) -> Result<bool, StoreError> {
        let query = sql("SELECT COUNT(*) FROM users WHERE role = $1 AND disabled = 0");
        Ok(query.bind(Role::Admin.as_str()).count(&mut self.read().await?).await? > 0)
    }

    /// The account of an address in its canonical form.
    pub(crate) async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let query = sql("SELECT id, email, role, disabled, password_hash FROM users WHERE email = $1");
        query.bind(email).optional(&mut self.read().await?).await?.map(from_row).transpose()
    }
}
