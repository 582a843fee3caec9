use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_sdk::{Health, HealthReport};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::instances::Instances;

/// The status of a process that can do its work.
const READY: &str = "ready";

/// Whether the process can do its work, from the health of its plugins.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Components>>);

#[derive(Default)]
struct Components {
    plugins: Vec<(Health, Part)>,
    stopping: bool,
}

/// What a component is to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// One of those that bring rates. Any of them will do: a second opinion that is missing is no reason to turn clients
    /// away from good prices, and whether a pair lacks its price is `sink/spread`'s to say.
    Source,
    /// What nothing else does in its place.
    Needed,
}

#[derive(Serialize, ToSchema)]
struct Live {
    /// `live`.
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Ready {
    /// `ready`, `not_ready` or `stopping`.
    status: &'static str,
    /// Each plugin's state in a word; why is in the log.
    plugins: BTreeMap<String, &'static str>,
}

/// The process answers
///
/// 200 for as long as it runs, whatever else is wrong.
#[utoipa::path(get, path = "/livez", operation_id = "live", tag = "service",
    responses((status = 200, description = "It runs.", body = Live, example = json!({ "status": "live" }))))]
pub(crate) async fn live() -> Response {
    Json(Live { status: "live" }).into_response()
}

/// The process can do its work
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "service", responses(
    (status = 200, description = "Every plugin can; of the sources one is enough.", body = Ready,
        example = json!({ "status": "ready", "plugins": { "api": "ready", "kraken": "ready" } })),
    (status = 503, description = "Not all that are needed can now, or it is stopping.", body = Ready,
        example = json!({ "status": "not_ready", "plugins": { "api": "ready", "kraken": "not_ready" } })),
))]
pub(crate) async fn ready(State(readiness): State<Readiness>) -> Response {
    readiness.response()
}

impl Readiness {
    /// Takes a component's health into account.
    pub(crate) fn add(&self, health: Health, part: Part) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plugins.push((health, part));
    }

    /// Forgets the plugin `name`.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plugins.retain(|(health, _)| health.name() != name);
    }

    /// From now on not ready, so that load balancers look elsewhere.
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
    }

    /// Every plugin's state, in the order in which they were started.
    pub(crate) fn report(&self) -> Vec<HealthReport> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report = |(one, _): &(Health, Part)| HealthReport { plugin: one.name().to_owned(), state: one.state() };
        state.plugins.iter().map(report).collect()
    }

    /// The answer of `/readyz`: 200 or 503, and each plugin's state in one word.
    fn response(&self) -> Response {
        let (status, report) = self.verdict();
        let plugins = report.into_iter().map(|one| (one.plugin, one.state.as_str())).collect();
        (code(status), Json(Ready { status, plugins })).into_response()
    }

    /// The operator's answer: the same verdict, states with their reasons, and the processes that were heard.
    pub(crate) fn detail(&self, instances: &Instances) -> Response {
        let (status, report) = self.verdict();
        let plugins: Vec<Value> = report
            .into_iter()
            .map(|one| json!({ "plugin": one.plugin, "state": one.state.as_str(), "reason": one.state.reason() }))
            .collect();
        let body = json!({ "status": status, "plugins": plugins, "instances": instances.shown() });
        (code(status), Json(body)).into_response()
    }

    /// `ready`, `not_ready` or `stopping`, and every plugin's state.
    pub(crate) fn verdict(&self) -> (&'static str, Vec<HealthReport>) {
        let report = self.report();
        let components = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = if components.stopping {
            "stopping"
        } else if components.are_ready() {
            READY
        } else {
            "not_ready"
        };
        (status, report)
    }
}

impl Components {
    fn are_ready(&self) -> bool {
        let is_ready = |(health, _): &&(Health, Part)| health.state().is_ready();
        let (sources, needed): (Vec<_>, Vec<_>) = self.plugins.iter().partition(|(_, part)| *part == Part::Source);
        needed.iter().all(is_ready) && (sources.is_empty() || sources.iter().any(is_ready))
    }
}

fn code(status: &str) -> StatusCode {
    if status == READY { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use ratebus_sdk::HealthState;

    use super::*;

    #[test]
    fn of_the_sources_one_is_enough_and_everything_else_is_needed() {
        let readiness = Readiness::default();
        let add = |name: &str, part| {
            let health = Health::new(name);
            readiness.add(health.clone(), part);
            health
        };
        let is_ready = || readiness.verdict().0 == READY;
        let pricing = add("spread", Part::Needed);
        assert!(!is_ready());
        pricing.ready();
        assert!(is_ready(), "a process without sources has its rates from elsewhere");
        let [first, second] = ["first", "second"].map(|name| add(name, Part::Source));
        assert!(!is_ready());
        first.ready();
        assert!(is_ready());
        second.set(HealthState::Failed("gone".to_owned()));
        assert!(is_ready());
        first.set(HealthState::NotReady("away".to_owned()));
        assert!(!is_ready());
        readiness.remove("second");
        readiness.remove("first");
        pricing.set(HealthState::NotReady("no fresh quote".to_owned()));
        assert!(!is_ready());
    }
}
