use std::time::Duration;

use ratebus_sdk::{Error, ErrorKind};
use sqlx::{
    Executor, MySqlPool, PgPool, SqlitePool,
    mysql::MySqlPoolOptions,
    pool::PoolOptions,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

use super::{
    DatabaseUrl, StoreError,
    file::DatabaseFile,
    session::{Connection, Session},
    url::Target,
};

/// How long a request waits for a connection before it is told that the database is unavailable.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a statement on a file waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How long to wait before looking at a lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const READERS: u32 = 3;

/// What is agreed with MySQL and MariaDB about each connection. `/*M! … */` is for MariaDB alone, which MySQL has no like
/// of.
///
/// Waits for locks and statements end before the request does, so that nothing is done that nobody waits for. A transaction
/// that says nothing more (the process is suspended, the network cut) does not keep all others from writing for long:
/// MariaDB ends it by itself, MySQL with its connection.
const MYSQL_SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION autocommit = 1, SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
     SESSION innodb_lock_wait_timeout = 2, SESSION lock_wait_timeout = 2, SESSION wait_timeout = 30 \
     /*M! , SESSION max_statement_time = 5, SESSION idle_transaction_timeout = 10 */";
/// How long a connection to MySQL may be idle: less than the `wait_timeout` above.
const MYSQL_IDLE: Duration = Duration::from_secs(20);
/// As [`MYSQL_SESSION`], for Postgres.
const POSTGRES_SESSION: &str = "SET lock_timeout = '2s'; SET statement_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning; SET synchronous_commit = on";

/// The connections to a database. One writes, up to three read, so that readers never wait for a writer.
pub(super) enum Pools {
    Sqlite { file: DatabaseFile, writer: SqlitePool, readers: SqlitePool },
    MySql { writer: MySqlPool, readers: MySqlPool },
    Postgres { writer: PgPool, readers: PgPool },
}

impl Pools {
    /// Opens a file; a server is connected to when it is needed.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, Error> {
        match &url.target {
            Target::Sqlite(path) => {
                let file = DatabaseFile::open(path)?;
                let options = SqliteConnectOptions::new()
                    .filename(file.path())
                    .journal_mode(SqliteJournalMode::Wal)
                    // An acknowledged spread survives a power loss; with NORMAL it may not.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(BUSY);
                let cannot_open = |error: sqlx::Error| {
                    Error::new(ErrorKind::Connect, format!("cannot open the database {}", file.path().display()))
                        .because(error)
                };
                let writer = connect(pool(1), &options).await.map_err(cannot_open)?;
                let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
                Ok(Self::Sqlite { file, writer, readers })
            }
            Target::MySql(options) => {
                let pool = |size| mysql(size).connect_lazy_with(options.as_ref().clone());
                Ok(Self::MySql { writer: pool(1), readers: pool(READERS) })
            }
            Target::Postgres(options) => {
                let pool = |size| postgres(size).connect_lazy_with(options.as_ref().clone());
                Ok(Self::Postgres { writer: pool(1), readers: pool(READERS) })
            }
        }
    }

    pub(super) async fn reader(&self) -> Result<Session, StoreError> {
        Ok(Session::new(match self {
            Self::Sqlite { file, readers, .. } => {
                file.check().await?;
                Connection::Sqlite(readers.acquire().await?)
            }
            Self::MySql { readers, .. } => Connection::MySql(readers.acquire().await?),
            Self::Postgres { readers, .. } => Connection::Postgres(readers.acquire().await?),
        }))
    }

    pub(super) async fn writer(&self) -> Result<Session, StoreError> {
        Ok(Session::new(match self {
            Self::Sqlite { file, writer, .. } => {
                file.check().await?;
                Connection::Sqlite(writer.acquire().await?)
            }
            Self::MySql { writer, .. } => Connection::MySql(writer.acquire().await?),
            Self::Postgres { writer, .. } => Connection::Postgres(writer.acquire().await?),
        }))
    }

    /// Waits for the connections in use and closes them all.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Self::MySql { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

fn bounded<DB: sqlx::Database>(options: PoolOptions<DB>, connections: u32) -> PoolOptions<DB> {
    options.max_connections(connections).acquire_timeout(ACQUIRE)
}

fn pool(connections: u32) -> SqlitePoolOptions {
    bounded(SqlitePoolOptions::new(), connections).idle_timeout(None).max_lifetime(None)
}

fn mysql(connections: u32) -> MySqlPoolOptions {
    bounded(MySqlPoolOptions::new(), connections)
        // Before the server does, which writes each such end into its log.
        .idle_timeout(MYSQL_IDLE)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(MYSQL_SESSION).await.map(drop) }))
}

fn postgres(connections: u32) -> PgPoolOptions {
    bounded(PgPoolOptions::new(), connections)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(drop) }))
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
