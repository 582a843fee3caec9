use axum::{
    Json,
    http::{
        HeaderMap, HeaderValue, Uri,
        header::{ACCEPT, VARY},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{envelope, page, problem::Problem};

#[derive(Serialize, ToSchema)]
struct Hello {
    #[schema(example = "world")]
    hello: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Service {
    #[schema(example = "User Api")]
    service: &'static str,
}

/// The service's greeting
#[utoipa::path(get, path = "/", operation_id = "hello", tag = "service",
    responses((status = 200, description = "As the original's.", body = Hello)))]
pub(crate) async fn hello() -> Response {
    Json(Hello { hello: "world" }).into_response()
}

/// The service's name
#[utoipa::path(get, path = "/", operation_id = "service", tag = "service",
    responses((status = 200, description = "As the original's.", body = Service)))]
pub(crate) async fn service() -> Response {
    Json(Service { service: "User Api" }).into_response()
}

/// The service's name, or the page for a browser
///
/// The page is for who asks for `text/html` first.
#[utoipa::path(get, path = "/", operation_id = "serviceOrPage", tag = "service", responses(
    (status = 200, description = "As the original's, or the page.", content(
        (Service = "application/json"),
        (String = "text/html; charset=utf-8"),
    )),
    (status = 304, description = "The page is the one of `If-None-Match`."),
))]
pub(crate) async fn service_or_page(headers: HeaderMap) -> Response {
    let mut response = if prefers_html(&headers) { page::index(&headers) } else { service().await };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Every path that nobody mounted: a problem under `/v1`, the original's envelope elsewhere.
pub(crate) async fn fallback(uri: Uri) -> Response {
    let path = uri.path();
    if path == "/v1" || path.starts_with("/v1/") {
        return Problem::not_found("there is nothing at this path").into_response();
    }
    envelope::not_found().into_response()
}

/// Whether `text/html` is named, and before any JSON. Browsers name it first; programs send `*/*` or nothing.
fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(Ok(accept)) = headers.get(ACCEPT).map(HeaderValue::to_str) else { return false };
    let mut types = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    types.find(|name| ["text/html", "application/json"].contains(name)) == Some("text/html")
}
