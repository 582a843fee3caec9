use sqlx::{
    SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::{Store, StoreError};
use ratebus_sdk::{Error, ErrorKind};

/// The migrations, in order. Forward only; one that was released is never changed.
const SQLITE: &[(i64, &str, &str)] = &[
    (1, "users", include_str!("../../../../migrations/sqlite/0001_users.sql")),
    (2, "sessions", include_str!("../../../../migrations/sqlite/0002_sessions.sql")),
    (3, "sessions_expires_at", include_str!("../../../../migrations/sqlite/0003_sessions_expires_at.sql")),
    (4, "spreads", include_str!("../../../../migrations/sqlite/0004_spreads.sql")),
    (5, "spread_audit", include_str!("../../../../migrations/sqlite/0005_spread_audit.sql")),
    (6, "spread_audit_no_update", include_str!("../../../../migrations/sqlite/0006_spread_audit_no_update.sql")),
    (7, "spread_audit_no_delete", include_str!("../../../../migrations/sqlite/0007_spread_audit_no_delete.sql")),
    (8, "attempts", include_str!("../../../../migrations/sqlite/0008_attempts.sql")),
    (9, "attempts_expires_at", include_str!("../../../../migrations/sqlite/0009_attempts_expires_at.sql")),
    (10, "spread_audit_reason", include_str!("../../../../migrations/sqlite/0010_spread_audit_reason.sql")),
    (11, "refresh_tokens", include_str!("../../../../migrations/sqlite/0011_refresh_tokens.sql")),
    (12, "scheduled_spreads", include_str!("../../../../migrations/sqlite/0012_scheduled_spreads.sql")),
    (13, "scheduled_spreads_due", include_str!("../../../../migrations/sqlite/0013_scheduled_spreads_due.sql")),
];

/// sqlx's own table of what was applied.
const TABLE: &str = "_sqlx_migrations";

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
}

impl MigrationStatus {
    /// Of a database that has only the migrations of these numbers.
    pub(crate) fn of(applied: &[i64]) -> Self {
        let names = SQLITE.iter().map(|&(version, name, _)| (version, name));
        Self { applied: applied.len(), pending: names.filter(|(version, _)| !applied.contains(version)).collect() }
    }
}

impl Store {
    /// How far the schema is. Changes nothing.
    pub(crate) async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        let known = "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
        if sqlx::query_scalar::<_, i64>(known).fetch_one(&self.readers).await? == 0 {
            return Ok(MigrationStatus::of(&[]));
        }
        let versions = sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version");
        Ok(MigrationStatus::of(&versions.fetch_all(&self.readers).await?))
    }

    /// Runs the migrations that are pending, all or none.
    ///
    /// # Errors
    /// `Config` if the database was migrated by a newer version or by other files of ours, `Connect` otherwise.
    pub(crate) async fn migrate(&self) -> Result<MigrationReport, Error> {
        self.try_migrate().await.map_err(to_error)
    }

    async fn try_migrate(&self) -> Result<MigrationReport, MigrateError> {
        // Inside the write lock, so that two processes starting together do not both run them.
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        tx.ensure_migrations_table(TABLE).await?;
        let before = tx.list_applied_migrations(TABLE).await?;
        migrator().run_direct(None, &mut *tx, false).await?;
        tx.commit().await?;
        let pending = |version: &i64| before.iter().all(|done| done.version != *version);
        let applied = SQLITE.iter().map(|&(version, name, _)| (version, name)).filter(|(version, _)| pending(version));
        Ok(MigrationReport { applied: applied.collect(), already: before.len() })
    }

    /// Fails unless every migration was run, and no other.
    pub(crate) async fn require_migrated(&self) -> Result<(), Error> {
        let cannot_read = |error| Error::new(ErrorKind::Connect, "cannot read the database").because(error);
        let MigrationStatus { applied, pending } = self.migration_status().await.map_err(cannot_read)?;
        match pending.len() {
            0 if applied == SQLITE.len() => Ok(()),
            0 => Err(newer()),
            pending => Err(Error::new(
                ErrorKind::Config,
                format!("{pending} database migrations are pending; run `ratebus migrate`, or set `migrate = true`"),
            )),
        }
    }
}

fn migrator() -> Migrator {
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(SQLITE.iter().map(migration).collect())
}

fn to_error(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(_) => newer().because(error),
        MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => {
            Error::new(ErrorKind::Config, "the database was not migrated by this program").because(error)
        }
        error => Error::new(ErrorKind::Connect, "cannot migrate the database").because(error),
    }
}

fn newer() -> Error {
    Error::new(ErrorKind::Config, "the database was migrated by a newer version of ratebus")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of the folder is in the list, in its order, and no number is there twice.
    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<String> = SQLITE.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(files, listed);
        let numbers = SQLITE.iter().map(|(version, ..)| *version);
        assert!(numbers.eq(1..=i64::try_from(SQLITE.len()).unwrap()), "numbered from 1 without a hole");
    }
}
