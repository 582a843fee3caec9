use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use ratebus_model::{Pair, SourceName};
use serde::Deserialize;

use crate::{PairTable, feed::DecoderEntry};

/// One thing wrong in a component's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key below the component's `config`, dotted: `pairs.1`, or empty for the whole.
    pub key: String,
    /// What is wrong and what was expected. Never a secret's value.
    pub message: String,
}

/// Everything wrong in a component's config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order they were found.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::default();
        error.add(key, message);
        error
    }

    /// Adds a problem.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), message: message.into() });
    }

    /// Takes over the problems of `result`; its value otherwise.
    pub fn take<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result.map_err(|error| self.problems.extend(error.problems)).ok()
    }

    /// `value`, unless there were problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.problems.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { key, message }) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let colon = if key.is_empty() { "" } else { ": " };
            write!(f, "{separator}{key}{colon}{message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// What a component may know of the rest of the config while it is built.
#[derive(Debug, Clone)]
pub struct Env {
    /// The component's own name: `kraken` for `[plugin.kraken]`. A valid [`SourceName`].
    pub name: SourceName,
    pairs: Arc<ArcSwap<PairTable>>,
    /// Whether they were asked for while building.
    built_from_pairs: Arc<AtomicBool>,
    /// The `[compat]` table.
    pub compat: Arc<Compat>,
    /// The decoders of the exchanges built in, by name.
    pub decoders: &'static [DecoderEntry],
    /// The names under `[listener.*]`.
    listeners: Arc<BTreeSet<String>>,
    /// Those that were asked for while building.
    claimed: Arc<Mutex<BTreeSet<String>>>,
    sessions: Arc<Mutex<SessionsClaim>>,
    keeps_clients: Arc<AtomicBool>,
}

/// What a component said of sessions while it was built.
#[derive(Debug, Default)]
struct SessionsClaim {
    offered: bool,
    /// The key that asks for them.
    needed_by: Option<String>,
}

impl Env {
    /// What the component `name` may know.
    pub fn new(
        name: SourceName,
        pairs: Arc<PairTable>,
        compat: Arc<Compat>,
        listeners: Arc<BTreeSet<String>>,
        decoders: &'static [DecoderEntry],
    ) -> Self {
        Self {
            name,
            pairs: Arc::new(ArcSwap::new(pairs)),
            built_from_pairs: Arc::default(),
            compat,
            decoders,
            listeners,
            claimed: Arc::default(),
            sessions: Arc::default(),
            keeps_clients: Arc::default(),
        }
    }

    /// The `[pairs.*]` tables, for a component that keeps what they say: it is built anew when they change.
    pub fn pairs(&self) -> Arc<PairTable> {
        self.built_from_pairs.store(true, Ordering::Relaxed);
        self.pairs_now()
    }

    /// The `[pairs.*]` tables as they are at this moment, for a component that asks again each time it needs them.
    pub fn pairs_now(&self) -> Arc<PairTable> {
        self.pairs.load_full()
    }

    /// Replaces the `[pairs.*]` tables. For the engine.
    pub fn replace_pairs(&self, pairs: Arc<PairTable>) {
        self.pairs.store(pairs);
    }

    /// Whether the component took the `[pairs.*]` tables while it was built.
    pub fn is_built_from_pairs(&self) -> bool {
        self.built_from_pairs.load(Ordering::Relaxed)
    }

    /// The listeners the component said it will mount routes on.
    pub fn claimed_listeners(&self) -> BTreeSet<String> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the component will offer [`Sessions`](crate::Sessions).
    pub fn offers_sessions(&self) {
        self.sessions().offered = true;
    }

    /// Says that the component asks [`Sessions`](crate::Sessions), because of `key`: then the role must have one plugin
    /// that offers them.
    pub fn needs_sessions(&self, key: &str) {
        self.sessions().needed_by = Some(key.to_owned());
    }

    /// Whether the component offers sessions.
    pub fn is_offering_sessions(&self) -> bool {
        self.sessions().offered
    }

    /// The key because of which the component needs sessions, if it does.
    pub fn sessions_needed_by(&self) -> Option<String> {
        self.sessions().needed_by.clone()
    }

    /// Says that clients of the component stay connected. When the process stops, it is asked to stop first: it sends them
    /// away while everything else goes on, for as long as half of the shutdown grace.
    pub fn keeps_clients(&self) {
        self.keeps_clients.store(true, Ordering::Relaxed);
    }

    /// Whether clients of the component stay connected.
    pub fn is_keeping_clients(&self) -> bool {
        self.keeps_clients.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> MutexGuard<'_, SessionsClaim> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the component will mount routes on `[listener.<name>]`, so that the engine opens it. `key` is the key
    /// that named it.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn listener(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        if self.listeners.contains(name) {
            self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            return Ok(());
        }
        let known = self.listeners.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(ConfigError::new(key, format!("no listener is named {name:?}; there are: {known}")))
    }
}

/// `[compat]`: how closely the original project is imitated where it and we differ on purpose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// The pairs that `POST /settings/update-rates` sets. By default `BTC_USD`, the original's only one.
    pub pairs: Vec<Pair>,
    /// What `original` and so both customer prices start from.
    pub reference: CompatReference,
}

impl Default for Compat {
    fn default() -> Self {
        Self { pairs: "BTC_USD".parse().into_iter().collect(), reference: CompatReference::default() }
    }
}

/// What the customer's prices start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompatReference {
    /// The ask for buying and the bid for selling.
    #[default]
    Sides,
    /// The ask for both, as the original did.
    Ask,
}
