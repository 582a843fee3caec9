use sqlx::{
    AssertSqlSafe, FromRow, MySqlPool, PgPool, SqlitePool, mysql::MySqlRow, postgres::PgRow, sqlite::SqliteRow,
};

/// Runs statements that all kinds of databases understand, their values written into them.
pub struct Client(Pool);

enum Pool {
    Sqlite(SqlitePool),
    MariaDb(MySqlPool),
    Postgres(PgPool),
}

impl Client {
    /// Connects to a `sqlite:`, `mysql:` or `postgres:` URL.
    pub async fn connect(url: &str) -> Self {
        let pool = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => SqlitePool::connect(url).await.map(Pool::Sqlite),
            Some("mysql") => MySqlPool::connect(url).await.map(Pool::MariaDb),
            _ => PgPool::connect(url).await.map(Pool::Postgres),
        };
        Self(pool.unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    /// Changes rows, and returns how many.
    pub async fn execute(&self, text: &str) -> u64 {
        self.try_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// As [`Client::execute`], for what may fail.
    ///
    /// # Errors
    /// What the database says.
    pub async fn try_execute(&self, text: &str) -> Result<u64, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
        Ok(match &self.0 {
            Pool::Sqlite(pool) => query.execute(pool).await?.rows_affected(),
            Pool::MariaDb(pool) => query.execute(pool).await?.rows_affected(),
            Pool::Postgres(pool) => query.execute(pool).await?.rows_affected(),
        })
    }

    /// All rows, as tuples of `String`, `Option<String>` and `i64`.
    pub async fn all<R>(&self, text: &str) -> Vec<R>
    where
        R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(text.to_owned());
        let rows = match &self.0 {
            Pool::Sqlite(pool) => sqlx::query_as(sql).fetch_all(pool).await,
            Pool::MariaDb(pool) => sqlx::query_as(sql).fetch_all(pool).await,
            Pool::Postgres(pool) => sqlx::query_as(sql).fetch_all(pool).await,
        };
        rows.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The column of text that all rows have.
    pub async fn texts(&self, text: &str) -> Vec<String> {
        self.all(text).await.into_iter().map(|(text,)| text).collect()
    }

    /// The number that a `SELECT COUNT(*)` answers.
    pub async fn count(&self, text: &str) -> i64 {
        self.all(text).await.into_iter().map(|(count,)| count).next().expect("a row")
    }

    /// Takes the lock that those who write have, and keeps it until the answer is dropped.
    pub async fn lock(&self) -> Lock {
        match &self.0 {
            Pool::Sqlite(pool) => Lock(Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.unwrap())),
            Pool::MariaDb(pool) => {
                let mut tx = pool.begin().await.unwrap();
                sqlx::query(LOCK).fetch_one(&mut *tx).await.unwrap();
                Lock(Transaction::MariaDb(tx))
            }
            Pool::Postgres(pool) => {
                let mut tx = pool.begin().await.unwrap();
                sqlx::query(LOCK).fetch_one(&mut *tx).await.unwrap();
                Lock(Transaction::Postgres(tx))
            }
        }
    }
}

const LOCK: &str = "SELECT id FROM write_lock FOR UPDATE";

/// A lock that somebody else has.
pub struct Lock(Transaction);

enum Transaction {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    MariaDb(sqlx::Transaction<'static, sqlx::MySql>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Lock {
    /// Gives it back.
    pub async fn release(self) {
        match self.0 {
            Transaction::Sqlite(tx) => tx.rollback().await,
            Transaction::MariaDb(tx) => tx.rollback().await,
            Transaction::Postgres(tx) => tx.rollback().await,
        }
        .unwrap();
    }
}
