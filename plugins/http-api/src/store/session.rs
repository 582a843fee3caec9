use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    Database, Encode, Executor, FromRow, IntoArguments, MySql, Postgres, Sqlite, Type, database::HasStatementCache,
    pool::PoolConnection, query_as_with, query_with,
};
use tokio::time::{Instant, timeout_at};

use super::{
    StoreError,
    statement::{Columns, Statement, sql},
};

/// How long a connection may be used for one request, in which a transaction with all its statements has to end.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a server's answer to a commit is waited for at least: without one nobody knows how it ended.
const COMMIT: Duration = Duration::from_secs(2);

/// A connection in use.
///
/// Cancel-safe: it goes back to its pool only if nothing is under way on it, neither a statement nor a transaction.
/// Otherwise it is closed, and the database undoes what was not committed.
pub(super) struct Session {
    connection: Connection,
    until: Instant,
    in_transaction: bool,
    settled: bool,
}

/// A connection to one kind of database.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, until: Instant::now() + PATIENCE, in_transaction: false, settled: true }
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn fetch<R: Columns>(&mut self, statement: Statement) -> Result<Vec<R>, StoreError> {
        self.watch(async |connection| match connection {
            Connection::Sqlite(connection) => rows::<Sqlite, R>(connection, statement).await,
            Connection::MySql(connection) => rows::<MySql, R>(connection, statement.with_question_marks()).await,
            Connection::Postgres(connection) => rows::<Postgres, R>(connection, statement).await,
        })
        .await
    }

    /// Runs a statement and returns how many rows it matched.
    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        self.watch(async |connection| {
            let (text, constant) = (statement.text(), statement.is_constant);
            Ok(match connection {
                Connection::Sqlite(connection) => {
                    let query = query_with::<Sqlite, _>(text, statement.arguments::<Sqlite>()?);
                    query.persistent(constant).execute(&mut **connection).await?.rows_affected()
                }
                Connection::MySql(connection) => {
                    let statement = statement.with_question_marks();
                    let query = query_with::<MySql, _>(statement.text(), statement.arguments::<MySql>()?);
                    query.persistent(constant).execute(&mut **connection).await?.rows_affected()
                }
                Connection::Postgres(connection) => {
                    let query = query_with::<Postgres, _>(text, statement.arguments::<Postgres>()?);
                    query.persistent(constant).execute(&mut **connection).await?.rows_affected()
                }
            })
        })
        .await
    }

    /// Begins or ends a transaction.
    async fn control(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.watch(async |connection| match connection {
            Connection::Sqlite(connection) => connection.execute(text).await.map(drop),
            Connection::MySql(connection) => connection.execute(text).await.map(drop),
            Connection::Postgres(connection) => connection.execute(text).await.map(drop),
        })
        .await
    }

    async fn watch<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.settled = false;
        let done = timeout_at(self.until, work(&mut self.connection)).await.map_err(|_| StoreError::Late)??;
        self.settled = !self.in_transaction;
        Ok(done)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.close_on_drop(),
            Connection::MySql(connection) => connection.close_on_drop(),
            Connection::Postgres(connection) => connection.close_on_drop(),
        }
    }
}

async fn rows<DB, R>(connection: &mut DB::Connection, statement: Statement) -> Result<Vec<R>, sqlx::Error>
where
    DB: Database<Arguments: IntoArguments<DB>> + HasStatementCache,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Option<String>: for<'t> Encode<'t, DB> + Type<DB>,
    i64: for<'t> Encode<'t, DB> + Type<DB>,
    R: for<'r> FromRow<'r, DB::Row> + Send + Unpin,
{
    let (text, constant) = (statement.text(), statement.is_constant);
    let query = query_as_with::<DB, R, _>(text, statement.arguments::<DB>()?);
    query.persistent(constant).fetch_all(connection).await
}

/// A transaction that may write. There is one at a time, over all processes: what it reads stays true until it commits.
///
/// Cancel-safe: dropped before [`Write::commit`] it changes nothing.
pub(super) struct Write(Session);

impl Write {
    /// Waits for its turn.
    pub(super) async fn begin(mut session: Session) -> Result<Self, StoreError> {
        session.in_transaction = true;
        match session.connection {
            // A deferred one can fail at its first write.
            Connection::Sqlite(_) => session.control("BEGIN IMMEDIATE").await?,
            // What is committed before the row is locked is seen by every statement after it.
            Connection::MySql(_) => {
                session.control("START TRANSACTION").await?;
                lock(&mut session).await?;
            }
            Connection::Postgres(_) => {
                session.control("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
                lock(&mut session).await?;
            }
        }
        Ok(Self(session))
    }

    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        self.0.execute(statement).await
    }

    /// Not cancel-safe: dropped meanwhile, or failed because a server's answer was lost or late, it may have worked. A file's
    /// answer is waited for however long it takes, since it comes.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        match &mut self.0.connection {
            Connection::Sqlite(connection) => connection.execute("COMMIT").await.map(drop)?,
            Connection::MySql(_) | Connection::Postgres(_) => {
                self.0.until = self.0.until.max(Instant::now() + COMMIT);
                self.0.control("COMMIT").await?;
            }
        }
        self.0.settled = true;
        Ok(())
    }
}

/// Servers let many write at once, so everybody locks the same row first.
async fn lock(session: &mut Session) -> Result<(), StoreError> {
    let row: Option<(i64,)> = sql("SELECT id FROM write_lock FOR UPDATE").optional(session).await?;
    row.map(drop).ok_or(StoreError::Corrupt("write lock"))
}

impl Deref for Write {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}
