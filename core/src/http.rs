//! What every listener does for every request: an id, a count, and an answer even when a handler panics.

use std::{any::Any, time::Instant};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use metrics::Histogram;
use ratebus_sdk::ProblemDocument;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::panics;

/// Carries the request's id: set by us on every request and answer; what a client sends is replaced.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answer while routes are still missing.
pub(crate) fn starting() -> ProblemDocument {
    ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, "The service is starting.")
}

/// The answer for a path that nobody mounted, where no plugin has one of its own.
pub(crate) fn nothing_here() -> ProblemDocument {
    ProblemDocument::new(StatusCode::NOT_FOUND, "There is nothing here.")
}

/// Wraps a listener's whole router.
pub(crate) fn wrap(router: Router, listener: &str) -> Router {
    let listener = listener.to_owned();
    // Registered once: looking it up by its labels would be work for each request.
    let seconds = metrics::histogram!("ratebus_http_request_seconds", "listener" => listener.clone());
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request, next| observe(listener.clone(), seconds.clone(), request, next)))
}

async fn observe(listener: String, seconds: Histogram, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut buffer = Uuid::encode_buffer();
    let id = HeaderValue::from_str(Uuid::now_v7().simple().encode_lower(&mut buffer)).ok();
    if let Some(id) = &id {
        request.headers_mut().insert(REQUEST_ID, id.clone());
    }
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!("ratebus_http_requests_total", "listener" => listener, "status" => status).increment(1);
    seconds.record(started.elapsed().as_secs_f64());
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    tracing::error!(panic = panics::words(&*panic), "a request handler panicked");
    metrics::counter!("ratebus_http_panics_total").increment(1);
    ProblemDocument::new(StatusCode::INTERNAL_SERVER_ERROR, "The request failed; the fault is ours.").into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: Router, request_id: Option<&str>) -> (StatusCode, String, String) {
        let mut request = Request::new(axum::body::Body::empty());
        if let Some(id) = request_id {
            request.headers_mut().insert(REQUEST_ID, id.parse().unwrap());
        }
        let response = wrap(router, "test").oneshot(request).await.unwrap();
        let (status, id) = (response.status(), response.headers()[REQUEST_ID].to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_one_answer_and_tells_nothing() {
        async fn handler() -> &'static str {
            panic!("secret")
        }
        let (status, _, body) = ask(Router::new().route("/", get(handler)), None).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("The request failed") && !body.contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn every_answer_has_an_id_of_our_own() {
        let handler = async |request: Request| request.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let router = Router::new().route("/", get(handler));
        let (status, id, seen) = ask(router, Some("forged")).await;
        assert_eq!((status, &seen), (StatusCode::OK, &id));
        assert_eq!(id.len(), 32);
    }
}
