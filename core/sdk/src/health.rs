use std::sync::{Arc, Mutex, PoisonError};

/// How a component is, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthState {
    /// Not yet able to do its work. Makes the process not ready.
    Starting,
    /// Doing its work.
    Ready,
    /// Doing its work in part; the reason says what is missing. The process stays ready.
    Degraded(String),
    /// Unable to do its work. Makes the process not ready.
    NotReady(String),
    /// Finished for good, by itself. The process stays ready.
    Finished,
    /// Given up after too many failures. Makes the process not ready.
    Failed(String),
}

impl HealthState {
    /// Whether the process may call itself ready with a component in this state.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded(_) | Self::Finished)
    }

    /// The state as one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::NotReady(_) => "not_ready",
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
        }
    }

    /// The reason, where there is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Degraded(reason) | Self::NotReady(reason) | Self::Failed(reason) => Some(reason),
            Self::Starting | Self::Ready | Self::Finished => None,
        }
    }
}

/// One component's state, written by it and read by the engine. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    /// A std lock: held for a compare and a move, never across an await.
    state: Arc<Mutex<HealthState>>,
    name: Arc<str>,
}

impl Health {
    /// The health of the component `name`, starting.
    pub fn new(name: &str) -> Self {
        Self { state: Arc::new(Mutex::new(HealthState::Starting)), name: name.into() }
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state now.
    pub fn state(&self) -> HealthState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the state; a change is logged and shown in the metric `ratebus_plugin_ready`.
    pub fn set(&self, new: HealthState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == new {
            return;
        }
        let ready = new.is_ready();
        metrics::gauge!("ratebus_plugin_ready", "plugin" => self.name.to_string()).set(u32::from(ready));
        let (plugin, state_word, reason) = (&*self.name, new.as_str(), new.reason());
        let words = state_word.replace('_', " ");
        if ready {
            tracing::info!(plugin, state = state_word, reason, "{plugin} is {words}");
        } else {
            tracing::warn!(plugin, state = state_word, reason, "{plugin} is {words}");
        }
        *state = new;
    }

    /// Doing its work.
    pub fn ready(&self) {
        self.set(HealthState::Ready);
    }

    /// Doing its work in part.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(HealthState::Degraded(reason.into()));
    }

    /// Unable to do its work.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(HealthState::NotReady(reason.into()));
    }
}

/// One line of the process's health.
#[derive(Debug, Clone)]
pub struct HealthReport {
    /// The component's name.
    pub plugin: String,
    /// Its state.
    pub state: HealthState,
}
