use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use ratebus_sdk::{Context, Env, Error};
use tokio::sync::Notify;

use crate::{
    accounts::{Hasher, Limits, PasswordPolicy, Tokens, Watch},
    config::BackendSettings,
    store::{Store, StoreError},
    waiting::Waiting,
};

/// What every handler may reach.
pub(crate) struct App {
    pub(crate) ctx: Context,
    pub(crate) env: Env,
    /// Empty until the database could be opened; for good where no route needs it.
    backend: OnceLock<Backend>,
    /// The database failed, or another instance has changed it: whoever watches it looks at once.
    pub(crate) trouble: Notify,
    /// The sessions of who is connected.
    pub(crate) watch: Watch,
    /// Requests that wait for a change.
    pub(crate) waiting: Waiting,
}

/// How handlers take it.
pub(crate) type Shared = Arc<App>;

/// What accounts and spreads need. Everything that asks the database fails closed.
pub(crate) struct Backend {
    pub(crate) store: Store,
    pub(crate) hasher: Hasher,
    pub(crate) tokens: Tokens,
    pub(crate) token_ttl: Duration,
    pub(crate) access_token_ttl: Duration,
    pub(crate) limits: Limits,
    pub(crate) passwords: PasswordPolicy,
    pub(crate) max_markup_percent: u32,
}

/// The answer is 503: the database, or a place in the queue before it, is missing. Why is in the log and in the
/// plugin's health, not in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("temporarily unavailable; try again in a moment")]
pub(crate) struct Unavailable;

impl App {
    pub(crate) fn new(ctx: Context, env: Env, max_waiting: usize) -> Shared {
        let (trouble, watch, waiting) = (Notify::new(), Watch::default(), Waiting::new(max_waiting));
        Arc::new(Self { ctx, env, backend: OnceLock::new(), trouble, watch, waiting })
    }

    /// The backend, once it is open.
    pub(crate) fn backend(&self) -> Result<&Backend, Unavailable> {
        self.backend.get().ok_or(Unavailable)
    }

    /// The database is open. Once per run.
    pub(crate) fn opened(&self, backend: Backend) {
        let _first = self.backend.set(backend);
    }

    /// Turns a failure of the database into a refusal.
    pub(crate) fn refuse(&self, error: &StoreError) -> Unavailable {
        metrics::counter!("ratebus_database_errors_total").increment(1);
        tracing::debug!(%error, "the database failed a request");
        self.trouble.notify_one();
        Unavailable
    }
}

impl Backend {
    /// Opens the database, migrates it if it may, and reads or makes the signing key.
    pub(crate) async fn open(settings: &BackendSettings) -> Result<Self, Error> {
        let store = Store::open(&settings.database).await?;
        if let Err(error) = prepare(&store, settings.migrate).await {
            store.close().await;
            return Err(error);
        }
        let tokens = Tokens::open(&settings.signing_key_file)?;
        let BackendSettings { token_ttl, access_token_ttl, limits, passwords, max_markup_percent, .. } = *settings;
        let hasher = Hasher::new(passwords.cost)?;
        Ok(Self { store, hasher, tokens, token_ttl, access_token_ttl, limits, passwords, max_markup_percent })
    }
}

/// Migrates the database if it may; else somebody must have done so.
async fn prepare(store: &Store, migrate: bool) -> Result<(), Error> {
    if !migrate {
        return store.require_migrated().await;
    }
    let report = store.migrate().await?;
    if !report.applied.is_empty() {
        tracing::info!(migrations = report.applied.len(), "database migrated");
    }
    Ok(())
}
