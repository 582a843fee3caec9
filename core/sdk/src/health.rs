use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

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

/// Whether a change is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Logged,
    Unlogged,
}

/// Whoever is told of each change.
type Told = dyn Fn(&HealthState, Line) + Send + Sync;

/// One component's state, written by it and read by the engine. Clones share it.
#[derive(Clone)]
pub struct Health {
    /// A std lock: held for a compare and a move, never across an await.
    state: Arc<Mutex<HealthState>>,
    name: Arc<str>,
    told: Arc<Told>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Health {
    /// The health of the component `name`, starting. A change is logged and shown in the metric `ratebus_plugin_ready`.
    pub fn new(name: &str) -> Self {
        let plugin = name.to_owned();
        Self::told_to(name, move |state, line| show(&plugin, state, line))
    }

    /// The health of a component whose changes are somebody else's to show.
    pub(crate) fn told_to(name: &str, told: impl Fn(&HealthState, Line) + Send + Sync + 'static) -> Self {
        Self { state: Arc::new(Mutex::new(HealthState::Starting)), name: name.into(), told: Arc::new(told) }
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state now.
    pub fn state(&self) -> HealthState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the state.
    pub fn set(&self, new: HealthState) {
        self.replace(new, Line::Logged);
    }

    /// Replaces the state without a line in the log: for changes that are more than anybody reads.
    pub fn set_unlogged(&self, new: HealthState) {
        self.replace(new, Line::Unlogged);
    }

    fn replace(&self, new: HealthState, line: Line) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != new {
            (self.told)(&new, line);
            *state = new;
        }
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

fn show(plugin: &str, new: &HealthState, line: Line) {
    let ready = new.is_ready();
    metrics::gauge!("ratebus_plugin_ready", "plugin" => plugin.to_owned()).set(u32::from(ready));
    if line == Line::Unlogged {
        return;
    }
    let (state_word, reason) = (new.as_str(), new.reason());
    let words = state_word.replace('_', " ");
    if ready {
        tracing::info!(plugin, state = state_word, reason, "{plugin} is {words}");
    } else {
        tracing::warn!(plugin, state = state_word, reason, "{plugin} is {words}");
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
