use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_sdk::{Health, HealthReport};
use serde_json::{Map, Value, json};

/// Whether the process can do its work, from the health of its plugins.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    plugins: Vec<Health>,
    stopping: bool,
}

impl Readiness {
    /// Takes a plugin's health into account.
    pub(crate) fn add(&self, health: Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plugins.push(health);
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
    pub(crate) fn response(&self) -> Response {
        let report = self.report();
        let stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner).stopping;
        let ready = !stopping && report.iter().all(|one| one.state.is_ready());
        let plugins: Map<String, Value> =
            report.into_iter().map(|one| (one.plugin, one.state.as_str().into())).collect();
        let word = if stopping {
            "stopping"
        } else if ready {
            "ready"
        } else {
            "not_ready"
        };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({ "status": word, "plugins": plugins }))).into_response()
    }

    /// The operator's answer: states with their reasons.
    pub(crate) fn detail(&self) -> Response {
        let plugins: Vec<Value> = self
            .report()
            .into_iter()
            .map(|one| json!({ "plugin": one.plugin, "state": one.state.as_str(), "reason": one.state.reason() }))
            .collect();
        Json(json!({ "plugins": plugins })).into_response()
    }
}
