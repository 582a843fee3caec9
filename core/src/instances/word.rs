use ratebus_model::Timestamp;
use ratebus_sdk::HealthReport;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many plugins are named, and how many characters of a reason: a word stays short whatever goes wrong.
const MOST_REASONS: usize = 16;
const LONGEST_REASON: usize = 200;

/// What a process says of itself. Others may be newer: members that are not known are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word {
    /// Which process, of all that ever ran.
    pub(super) instance: String,
    pub(super) role: String,
    /// The machine's name.
    #[serde(default)]
    pub(super) host: String,
    pub(super) version: String,
    /// `ready`, `not_ready` or `stopping`.
    pub(super) state: String,
    /// When it came into this state.
    pub(super) since: Timestamp,
    /// The plugins that are not simply ready.
    #[serde(default)]
    pub(super) reasons: Vec<Trouble>,
}

/// How a plugin is that is not simply ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    plugin: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Word {
    /// Of a process that starts `now`.
    pub(super) fn first(id: Uuid, role: &str, now: Timestamp) -> Self {
        Self {
            instance: id.simple().to_string(),
            role: role.to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: "not_ready".to_owned(),
            since: now,
            reasons: Vec::new(),
        }
    }

    /// Makes it say how the process is `now`.
    pub(super) fn update(&mut self, state: &str, report: &[HealthReport], now: Timestamp) {
        if self.state != state {
            state.clone_into(&mut self.state);
            self.since = now;
        }
        let unusual = report.iter().filter(|one| one.state.as_str() != "ready");
        self.reasons = unusual.take(MOST_REASONS).map(Trouble::of).collect();
    }
}

impl Trouble {
    fn of(report: &HealthReport) -> Self {
        let short = |reason: &str| reason.chars().take(LONGEST_REASON).collect();
        Self {
            plugin: report.plugin.clone(),
            state: report.state.as_str().to_owned(),
            reason: report.state.reason().map(short),
        }
    }
}
