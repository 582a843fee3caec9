//! The one place that tells the kinds of databases apart.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    Database, Encode, Executor, FromRow, IntoArguments, Sqlite, Type, database::HasStatementCache,
    pool::PoolConnection, query_as_with, query_with,
};
use tokio::time::{Instant, timeout_at};

use super::{
    StoreError,
    statement::{Columns, Statement, sql},
};

/// How long a connection may be used for one request.
const PATIENCE: Duration = Duration::from_secs(6);

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
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, until: Instant::now() + PATIENCE, in_transaction: false, settled: true }
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn fetch<R: Columns>(&mut self, statement: Statement) -> Result<Vec<R>, StoreError> {
        self.settled = false;
        let rows = async {
            match &mut self.connection {
                Connection::Sqlite(connection) => rows::<Sqlite, R>(connection, statement).await,
            }
        };
        let rows = timeout_at(self.until, rows).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.settled = !self.in_transaction;
        Ok(rows)
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        self.settled = false;
        let matched = async {
            match &mut self.connection {
                Connection::Sqlite(connection) => {
                    let text = statement.text();
                    let query = query_with::<Sqlite, _>(text, statement.arguments::<Sqlite>()?);
                    Ok(query.execute(&mut **connection).await?.rows_affected())
                }
            }
        };
        let matched = timeout_at(self.until, matched).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.settled = !self.in_transaction;
        Ok(matched)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.close_on_drop(),
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
    let (text, constant) = (statement.text(), statement.is_constant());
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
        // A deferred one can fail at its first write.
        session.execute(sql("BEGIN IMMEDIATE")).await?;
        Ok(Self(session))
    }

    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        self.0.execute(statement).await
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        self.0.execute(sql("COMMIT")).await?;
        self.0.settled = true;
        Ok(())
    }
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
