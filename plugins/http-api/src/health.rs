use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::Shared;

/// The original's health report.
#[derive(Serialize, ToSchema)]
struct Health {
    healthy: bool,
    report: BTreeMap<String, Check>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Check {
    display_name: String,
    health: Verdict,
    #[schema(value_type = Vec<String>, max_items = 0)]
    meta: [(); 0],
}

#[derive(Serialize, ToSchema)]
struct Verdict {
    healthy: bool,
    message: &'static str,
}

/// The health of each component
///
/// One word for each; why is in the log, and on the listener for metrics.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "service", responses(
    (status = 200, description = "All are healthy.", body = Health),
    (status = 400, description = "One is not.", body = Health),
))]
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
