//! The database: the only SQL of ratebus.
//!
//! Each statement is written once ([`statement::sql`]) and is portable: `$1 … $n` in order, no `RETURNING`, no upsert
//! (an update, then an insert if nothing matched: writers take turns), times as microseconds, yes and no as 1 and 0, ids and
//! decimals as text. The truth about accounts and spreads is here; rates never are.

mod accounts;
mod attempts;
mod file;
mod migrations;
mod refresh;
mod scheduled;
mod session;
mod sessions;
mod spread_audit;
mod spreads;
mod statement;
mod users;

use std::{sync::Arc, time::Duration};

use ratebus_sdk::{Error, ErrorKind};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

pub(crate) use accounts::{Account, AccountChange, Changed};
pub(crate) use attempts::{Key, Tally};
use file::DatabaseFile;
pub(crate) use file::DatabaseUrl;
pub use migrations::{MigrationReport, MigrationStatus};
pub(crate) use refresh::{RefreshHashes, Renewal, Spent};
pub(crate) use scheduled::{Cancelled, Scheduled, ScheduledState};
use session::{Connection, Session, Write};
pub(crate) use spread_audit::SpreadChange;
pub(crate) use spreads::Actor;
use statement::sql;
pub(crate) use users::{NewUser, Role, User};

/// How long a request waits for a connection before it is told that the database is unavailable.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How long to wait before looking at a lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const READERS: u32 = 3;

/// Why the database did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file is not where it was opened: what is written would be lost with it.
    #[error("the database file is missing")]
    Missing,
    /// The file is another than the one that was opened, which only opening it anew can settle.
    #[error("the database file was replaced")]
    Replaced,
    /// The database said no, or did not answer in time.
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

/// An open database. One connection writes, up to three read, so that readers never wait for a writer.
pub(crate) struct Store {
    file: DatabaseFile,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held from the begin of a change of spreads until its publication, so that they go out in the order of commits.
    spread_order: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the database, making file and folder if there are none.
    ///
    /// # Errors
    /// `Config` if the file is open to others than its owner, `Connect` for all that may pass.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, Error> {
        let file = DatabaseFile::open(url)?;
        let options = SqliteConnectOptions::new()
            .filename(file.path())
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged spread survives a power loss; with NORMAL it may not.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let cannot_open = |error: sqlx::Error| {
            Error::new(ErrorKind::Connect, format!("cannot open the database {}", file.path().display())).because(error)
        };
        let writer = connect(pool(1), &options).await.map_err(cannot_open)?;
        let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { file, writer, readers, spread_order: Arc::default() })
    }

    /// Whether the database still answers, and is still the file that was opened.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let _any: Vec<(i64,)> = sql("SELECT revision FROM spreads LIMIT 1").all(&mut self.read().await?).await?;
        Ok(())
    }

    /// Waits for the connections in use and closes them all.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A connection to read with.
    async fn read(&self) -> Result<Session, StoreError> {
        self.file.check().await?;
        Ok(Session::new(Connection::Sqlite(self.readers.acquire().await?)))
    }

    /// A transaction that has the write lock from its start.
    ///
    /// Cancel-safe: dropped before its commit it changes nothing.
    async fn write(&self) -> Result<Write, StoreError> {
        self.file.check().await?;
        Write::begin(Session::new(Connection::Sqlite(self.writer.acquire().await?))).await
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE).idle_timeout(None).max_lifetime(None)
}

/// Connects, waiting for another process that opens the same database: the switch of a new one to a write-ahead log is
/// the one lock that SQLite's own timeout does not wait for.
async fn connect(pool: SqlitePoolOptions, options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(LOCK_PAUSE).await,
            result => return result,
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("5")
}
