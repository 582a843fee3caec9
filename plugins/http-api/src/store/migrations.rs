use std::time::Duration;

use ratebus_sdk::{Error, ErrorKind};
use sqlx::{
    ConnectOptions, Connection, Executor, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
    mysql::MySqlConnectOptions,
    postgres::PgConnectOptions,
};
use tokio::time::timeout;

use super::{
    Store, StoreError,
    pools::Pools,
    statement::{Statement, sql},
    url::Target,
};

/// Lists the migrations of each kind of database, in order: the same names, numbered from 1.
macro_rules! migrations {
    ($($file:literal,)+) => {
        const SQLITE: &[(&str, &str)] = migrations!("sqlite": $($file,)+);
        const MYSQL: &[(&str, &str)] = migrations!("mysql": $($file,)+);
        const POSTGRES: &[(&str, &str)] = migrations!("postgres": $($file,)+);
    };
    ($folder:literal: $($file:literal,)+) => {
        &[$(($file, include_str!(concat!("../../../../migrations/", $folder, "/", $file, ".sql"))),)+]
    };
}

// Forward only; one that was released is never changed. One statement in each file: MySQL cannot take one back.
migrations! {
    "0001_users",
    "0002_sessions",
    "0003_sessions_expires_at",
    "0004_spreads",
    "0005_spread_audit",
    "0006_spread_audit_no_update",
    "0007_spread_audit_no_delete",
    "0008_attempts",
    "0009_attempts_expires_at",
    "0010_spread_audit_reason",
    "0011_refresh_tokens",
    "0012_scheduled_spreads",
    "0013_scheduled_spreads_due",
    "0014_write_lock",
    "0015_write_lock_row",
    "0016_sessions_user_id",
}

/// sqlx's own table of what was applied.
const TABLE: &str = "_sqlx_migrations";
/// How long a server may take to be connected to.
const CONNECT: Duration = Duration::from_secs(10);

/// Two that start together do not both migrate: the second one waits for the first. A name for the server is no name for
/// the database, so it has that in it.
const MYSQL_LOCK: &str = "SELECT GET_LOCK(SHA1(CONCAT('ratebus migrations of ', DATABASE())), 60)";
const MYSQL_SESSION: &str = "SET SESSION lock_wait_timeout = 30";
/// As [`MYSQL_LOCK`]; Postgres knows which database it is in. The number is an arbitrary one.
const POSTGRES_LOCK: &str = "SET lock_timeout = '60s'; SELECT pg_advisory_lock(7296401532746195)";

/// What a run of the migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The migrations that were run now, in order: number and name.
    pub applied: Vec<(i64, &'static str)>,
    /// How many had been run before.
    pub already: usize,
}

/// How far a database's schema is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// How many migrations have been run.
    pub applied: usize,
    /// Those that have not, in order: number and name.
    pub pending: Vec<(i64, &'static str)>,
    /// The numbers of those that this version does not know: a newer one ran them.
    pub unknown: Vec<i64>,
    /// The number of the one that began and did not end, as only MySQL and MariaDB have it.
    pub broken: Option<i64>,
}

impl MigrationStatus {
    /// Of a database that has only the migrations of these numbers.
    pub(crate) fn of(applied: &[i64]) -> Self {
        let pending = names().filter(|(version, _)| !applied.contains(version)).collect();
        let unknown = applied.iter().copied().filter(|&version| names().all(|(known, _)| known != version)).collect();
        Self { applied: applied.len(), pending, unknown, broken: None }
    }
}

impl Store {
    /// How far the schema is. Changes nothing.
    pub(crate) async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        let mut session = self.read().await?;
        if self.has_migrations_table().count(&mut session).await? == 0 {
            return Ok(MigrationStatus::of(&[]));
        }
        let applied = sql("SELECT version FROM _sqlx_migrations WHERE success = TRUE ORDER BY version");
        let applied: Vec<(i64,)> = applied.all(&mut session).await?;
        let broken = sql("SELECT version FROM _sqlx_migrations WHERE success = FALSE");
        let broken: Option<(i64,)> = broken.optional(&mut session).await?;
        let applied: Vec<i64> = applied.into_iter().map(|(version,)| version).collect();
        Ok(MigrationStatus { broken: broken.map(|(version,)| version), ..MigrationStatus::of(&applied) })
    }

    fn has_migrations_table(&self) -> Statement {
        match &self.pools {
            Pools::Sqlite { .. } => sql("SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'"),
            Pools::MySql { .. } => sql("SELECT COUNT(*) FROM information_schema.tables \
                                        WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'"),
            Pools::Postgres { .. } => sql("SELECT COUNT(to_regclass('_sqlx_migrations'))"),
        }
    }

    /// Runs the migrations that are pending. SQLite runs all or none; a server those before the first that fails.
    ///
    /// # Errors
    /// `Config` if the database was migrated by a newer version or by other files of ours, or is left in the middle of one;
    /// `Connect` otherwise.
    pub(crate) async fn migrate(&self) -> Result<MigrationReport, Error> {
        let migrated = match (&self.pools, &self.url.target) {
            (Pools::Sqlite { writer, .. }, _) => migrate_file(writer).await,
            (_, Target::MySql(options)) => migrate_mysql(options).await,
            (_, Target::Postgres(options)) => migrate_postgres(options).await,
            // A file's pools belong to a file's URL.
            (_, Target::Sqlite(_)) => Err(MigrateError::Source("not a file".into())),
        };
        migrated.map_err(to_error)
    }

    /// Fails unless every migration was run, and no other.
    ///
    /// # Errors
    /// `Connect` for what passes by itself, or once somebody has run the pending migrations; `Config` for the rest.
    pub(crate) async fn require_migrated(&self) -> Result<(), Error> {
        let cannot_read = |error| Error::new(ErrorKind::Connect, "cannot read the database").because(error);
        let MigrationStatus { pending, unknown, broken, .. } = self.migration_status().await.map_err(cannot_read)?;
        if let Some(version) = broken {
            return Err(half_done(version));
        }
        if !unknown.is_empty() {
            return Err(newer());
        }
        match pending.len() {
            0 => Ok(()),
            pending => Err(Error::new(
                ErrorKind::Connect,
                format!("{pending} database migrations are pending; run `ratebus migrate`, or set `migrate = true`"),
            )),
        }
    }
}

async fn migrate_file(writer: &sqlx::SqlitePool) -> Result<MigrationReport, MigrateError> {
    // Inside the write lock, so that two processes starting together do not both run them.
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    let report = run(&mut *tx, SQLITE).await?;
    tx.commit().await?;
    Ok(report)
}

/// On a connection of its own, which has other limits of time; closing it gives the lock back.
async fn migrate_mysql(options: &MySqlConnectOptions) -> Result<MigrationReport, MigrateError> {
    let mut connection = in_time(options.connect()).await?;
    connection.execute(MYSQL_SESSION).await?;
    let locked: Option<i64> = sqlx::query_scalar(MYSQL_LOCK).fetch_one(&mut connection).await?;
    if locked != Some(1) {
        return Err(MigrateError::Source("another process migrates it".into()));
    }
    let report = run(&mut connection, MYSQL).await?;
    connection.close().await?;
    Ok(report)
}

/// As [`migrate_mysql`].
async fn migrate_postgres(options: &PgConnectOptions) -> Result<MigrationReport, MigrateError> {
    let mut connection = in_time(options.connect()).await?;
    connection.execute(POSTGRES_LOCK).await?;
    let report = run(&mut connection, POSTGRES).await?;
    connection.close().await?;
    Ok(report)
}

async fn in_time<T>(connecting: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(CONNECT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn run(
    connection: &mut impl Migrate,
    files: &[(&'static str, &'static str)],
) -> Result<MigrationReport, MigrateError> {
    connection.ensure_migrations_table(TABLE).await?;
    let before = connection.list_applied_migrations(TABLE).await?;
    migrator(files).run_direct(None, connection, false).await?;
    let pending = |version: i64| before.iter().all(|done| done.version != version);
    Ok(MigrationReport { applied: names().filter(|(version, _)| pending(*version)).collect(), already: before.len() })
}

fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |((version, name), (_, sql)): ((i64, &'static str), &(&str, &'static str))| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(names().zip(files).map(migration).collect());
    // sqlx's own lock does not lock on MariaDB, which knows no wait for ever.
    migrator.set_locking(false);
    migrator
}

/// Number and name of each migration, in order.
fn names() -> impl Iterator<Item = (i64, &'static str)> {
    (1..).zip(SQLITE.iter().map(|(file, _)| file.split_once('_').map_or(*file, |(_, name)| name)))
}

fn to_error(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(_) => newer().because(error),
        MigrateError::Dirty(version) => half_done(version),
        MigrateError::VersionMismatch(_) => {
            Error::new(ErrorKind::Config, "the database was not migrated by this program").because(error)
        }
        error => Error::new(ErrorKind::Connect, "cannot migrate the database").because(error),
    }
}

fn newer() -> Error {
    Error::new(ErrorKind::Config, "the database was migrated by a newer version of ratebus")
}

fn half_done(version: i64) -> Error {
    let name = names().find(|(known, _)| *known == version).map_or("", |(_, name)| name);
    Error::new(
        ErrorKind::Config,
        format!(
            "migration {version:04} {name} began and did not end. If the database lacks what it makes, run \"DELETE FROM \
             {TABLE} WHERE version = {version}\", else \"UPDATE {TABLE} SET success = TRUE WHERE version = {version}\"; \
             then run `ratebus migrate`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of each folder is in the list, in its order, and no number is there twice.
    #[test]
    fn the_list_is_each_folder() {
        let listed: Vec<String> = names().map(|(version, name)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(listed, SQLITE.iter().map(|(file, _)| format!("{file}.sql")).collect::<Vec<_>>(), "from 1, no hole");
        for folder in ["sqlite", "mysql", "postgres"] {
            let folder = format!("{}/../../migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(&folder).unwrap();
            let mut files: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            assert_eq!(files, listed, "{folder}");
        }
    }
}
