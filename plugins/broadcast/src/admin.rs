//! What administrators see of the clients, `/v1/admin/clients`.

use std::{ops::RangeInclusive, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use ratebus_sdk::{FieldProblem, ProblemDocument, bearer};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{hub::Hub, roll};

/// How many clients are shown.
const LIMITS: RangeInclusive<usize> = 1..=100;

/// The route.
pub(crate) fn route(hub: Arc<Hub>) -> UtoipaMethodRouter {
    routes!(clients).with_state(hub)
}

/// How many are to be shown.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// How many clients, the slowest ones.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: usize,
}

const fn default_limit() -> usize {
    20
}

/// The slowest clients: first those whose connection has taken nothing for the longest time, then those that have not had
/// everything for the longest.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveClients)]
struct Clients {
    /// How many are connected to this process.
    connected: usize,
    clients: Vec<roll::View>,
}

/// The slowest clients of the live rates
///
/// Of this process, as they are at this moment. A client that polls and does not ask is not seen to be behind.
#[utoipa::path(get, path = "/v1/admin/clients", operation_id = "listLiveClients", tag = "rates", params(Page),
    security(("bearer" = [])), responses(
    (status = 200, description = "The slowest first.", body = Clients),
    (status = 401, description = "No valid bearer token.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 403, description = "Not an administrator's.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 422, description = "`limit` is no number from 1 to 100.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 503, description = "Not now: who asks cannot be checked.", body = ProblemDocument,
        content_type = "application/problem+json"),
))]
async fn clients(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Clients>, ProblemDocument> {
    hub.door.admit_admin(bearer(&headers)).await?;
    let limit = page.ok().map(|Query(page)| page.limit).filter(|limit| LIMITS.contains(limit));
    let limit = limit.ok_or_else(|| {
        let message = format!("expected {} to {}", LIMITS.start(), LIMITS.end());
        ProblemDocument::fields(vec![FieldProblem { field: "limit".to_owned(), message }])
    })?;
    let (clients, connected) = hub.door.roll.slowest(limit);
    Ok(Json(Clients { connected, clients }))
}
