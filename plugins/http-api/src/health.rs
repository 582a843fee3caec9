use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::state::Shared;

/// The answer of `AdonisJS`'s health check.
#[derive(Serialize)]
struct Health {
    healthy: bool,
    report: BTreeMap<String, Check>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    display_name: String,
    health: Verdict,
    meta: [(); 0],
}

#[derive(Serialize)]
struct Verdict {
    healthy: bool,
    message: &'static str,
}

/// `GET /health`: 200 or 400. One word for each component; reasons may name hosts and files, and stay in the log and
/// on the listener for metrics.
pub(crate) async fn health(State(app): State<Shared>) -> Response {
    let check = |component: ratebus_sdk::HealthReport| {
        let (healthy, message) = (component.state.is_ready(), component.state.as_str());
        let check = Check { display_name: component.plugin.clone(), health: Verdict { healthy, message }, meta: [] };
        (component.plugin, check)
    };
    let report: BTreeMap<String, Check> = app.ctx.health_report().into_iter().map(check).collect();
    let healthy = report.values().all(|check| check.health.healthy);
    let status = if healthy { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (status, Json(Health { healthy, report })).into_response()
}
