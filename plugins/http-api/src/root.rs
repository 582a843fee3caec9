use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};

use crate::{
    envelope,
    headers::{protect, request_id},
    page, problem,
};

/// `GET /` of the `exchange-rate` role.
pub(crate) async fn hello() -> Response {
    json(r#"{"hello":"world"}"#)
}

/// `GET /` of the `user-api` role.
pub(crate) async fn service() -> Response {
    json(r#"{"service":"User Api"}"#)
}

/// `GET /` of the `user-api` role where it has the page: a browser gets that.
pub(crate) async fn service_or_page(headers: HeaderMap) -> Response {
    let mut response = if prefers_html(&headers) { page::index(&headers) } else { service().await };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Every path that nobody mounted: a problem under `/v1`, the original's envelope elsewhere.
pub(crate) async fn fallback(request: Request) -> Response {
    let path = request.uri().path();
    let mut response = if path == "/v1" || path.starts_with("/v1/") {
        let problem = problem::Problem::not_found("there is nothing at this path").into_response();
        problem::render(problem, request_id(request.headers()))
    } else {
        envelope::not_found().into_response()
    };
    protect(&mut response);
    response
}

fn json(text: &'static str) -> Response {
    ([(CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

/// Whether `text/html` is named, and before any JSON. Browsers name it first; programs send `*/*` or nothing.
fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(Ok(accept)) = headers.get(ACCEPT).map(HeaderValue::to_str) else { return false };
    let mut types = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    types.find(|name| ["text/html", "application/json"].contains(name)) == Some("text/html")
}
