//! The database: the only SQL of ratebus.
//!
//! Each statement is written once ([`statement::sql`]) and is portable: `$1 … $n` in order, no `RETURNING`, no upsert
//! (an update, then an insert if nothing matched: writers take turns), times as microseconds, yes and no as 1 and 0, ids and
//! decimals as text. The truth about accounts and spreads is here; rates never are.

mod accounts;
mod attempts;
mod file;
mod markup;
mod migrations;
mod pools;
mod refresh;
mod scheduled;
mod session;
mod sessions;
mod spread_audit;
mod spreads;
mod statement;
mod url;
mod users;

use std::sync::Arc;

use ratebus_sdk::Error;
use tokio::sync::Mutex;

pub(crate) use accounts::{Account, AccountChange, Changed};
pub(crate) use attempts::{Key, Tally};
pub use migrations::{MigrationReport, MigrationStatus};
use pools::Pools;
pub(crate) use refresh::{RefreshHashes, Renewal, Spent};
pub(crate) use scheduled::{Cancelled, Scheduled, ScheduledState};
use session::{Session, Write};
pub(crate) use spread_audit::SpreadChange;
pub(crate) use spreads::Actor;
pub use url::DatabaseUrl;
pub(crate) use users::{NewUser, Role, User};

/// Why the database did not do what was asked. Nothing was changed, unless it was a server's answer to a commit that was
/// lost: that may have worked, and only reading tells.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file is not where it was opened: what is written would be lost with it.
    #[error("the database file is missing")]
    Missing,
    /// It is another one than was opened, or an older state of it, which only opening it anew can settle.
    #[error("the database was replaced")]
    Replaced,
    /// It did not answer in time.
    #[error("the database did not answer in time")]
    Late,
    /// The database said no, or cannot be reached.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A row holds what no version of ratebus writes.
    #[error("the database holds an invalid {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Whether a value that may be there once only is there already.
    fn is_taken(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

/// An open database.
pub(crate) struct Store {
    pools: Pools,
    url: DatabaseUrl,
    /// Held from the begin of a change of spreads until its publication, so that they go out in the order of commits.
    spread_order: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the database: a file and its folder are made if there are none, a server may be away for now.
    ///
    /// # Errors
    /// `Config` if the file is open to others than its owner, `Connect` for all that may pass.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, Error> {
        Ok(Self { pools: Pools::open(url).await?, url: url.clone(), spread_order: Arc::default() })
    }

    /// Waits for the connections in use and closes them all.
    pub(crate) async fn close(&self) {
        self.pools.close().await;
    }

    /// A connection to read with.
    async fn read(&self) -> Result<Session, StoreError> {
        self.pools.reader().await
    }

    /// A transaction that has the write lock from its start.
    ///
    /// Cancel-safe: dropped before its commit it changes nothing.
    async fn write(&self) -> Result<Write, StoreError> {
        Write::begin(self.pools.writer().await?).await
    }
}
