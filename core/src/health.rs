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
    plugins: Vec<Health>,
    stopping: bool,
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
    (status = 200, description = "Every plugin can.", body = Ready,
        example = json!({ "status": "ready", "plugins": { "api": "ready", "kraken": "ready" } })),
    (status = 503, description = "Not all of them now, or it is stopping.", body = Ready,
        example = json!({ "status": "not_ready", "plugins": { "api": "ready", "kraken": "not_ready" } })),
))]
pub(crate) async fn ready(State(readiness): State<Readiness>) -> Response {
    readiness.response()
}

impl Readiness {
    /// Takes a plugin's health into account.
    pub(crate) fn add(&self, health: Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plugins.push(health);
    }

    /// Forgets the plugin `name`.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plugins.retain(|health| health.name() != name);
    }

    /// From now on not ready, so that load balancers look elsewhere.
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
    }

    /// Every plugin's state, in the order in which they were started.
    pub(crate) fn report(&self) -> Vec<HealthReport> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.plugins.iter().map(|one| HealthReport { plugin: one.name().to_owned(), state: one.state() }).collect()
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
        let status = if self.0.lock().unwrap_or_else(PoisonError::into_inner).stopping {
            "stopping"
        } else if report.iter().all(|one| one.state.is_ready()) {
            READY
        } else {
            "not_ready"
        };
        (status, report)
    }
}

fn code(status: &str) -> StatusCode {
    if status == READY { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
