//! What every listener does for every request: an id, a count, the headers that every answer has, and an answer even
//! when a handler panics.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{PoisonError, RwLock},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::Request,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use metrics::{Counter, Histogram};
use ratebus_sdk::ProblemDocument;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{cors::Cors, head, panics};

/// Carries the request's id: set by us on every request and answer; what a client sends is replaced.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an HTML page may do that says nothing about it: nothing, and in nobody's frame.
const STRICTEST_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// For a year, browsers do not ask without TLS (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Marks a request whose client came over TLS.
#[derive(Clone, Copy)]
pub(crate) struct OverTls;

/// The answer while routes are still missing.
pub(crate) fn starting() -> ProblemDocument {
    ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, "The service is starting.")
}

/// The answer for a path that nobody mounted, where no plugin has one of its own.
pub(crate) fn nothing_here() -> ProblemDocument {
    ProblemDocument::new(StatusCode::NOT_FOUND, "There is nothing here.")
}

/// The answer to who has too many connections.
pub(crate) fn too_many_connections() -> ProblemDocument {
    ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, "There are too many connections from this address.")
}

/// A listener's routes, and what is done around them. No layers of a router: those are boxed and copied for each request,
/// which was an eighth of what a client that comes cost.
pub(crate) struct Edge {
    router: Router,
    measures: Measures,
}

/// Registered once: looking them up by their labels would be work for each request.
struct Measures {
    listener: String,
    seconds: Histogram,
    answers: RwLock<BTreeMap<StatusCode, Counter>>,
}

impl Edge {
    pub(crate) fn new(router: Router, listener: &str) -> Self {
        Self { router, measures: Measures::new(listener) }
    }

    /// Answers a request. Not cancel-safe: who drops this before the end has no answer, and it is not counted.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let started = Instant::now();
        let id = request_id();
        let over_tls = request.extensions().get::<OverTls>().is_some();
        let refusal = head::refusal(&request);
        if let Some(id) = id.clone() {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        let response = match refusal {
            Some(problem) => problem.into_response(),
            None => self.route(request).await,
        };
        let mut response = with_request_id(response, id.as_ref());
        protect(&mut response, over_tls);
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.measures.record(response.status(), started);
        response
    }

    async fn route(&self, request: Request) -> Response {
        let cors = Cors::of(&request);
        let answered = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind().await;
        let response = answered.map_or_else(|panic| panicked(&*panic), |Ok(response)| response);
        match cors {
            Some(cors) => cors.apply(response),
            None => response,
        }
    }
}

impl Measures {
    fn new(listener: &str) -> Self {
        let listener = listener.to_owned();
        let seconds = metrics::histogram!("ratebus_http_request_seconds", "listener" => listener.clone());
        Self { listener, seconds, answers: RwLock::default() }
    }

    fn record(&self, status: StatusCode, started: Instant) {
        self.seconds.record(started.elapsed().as_secs_f64());
        if let Some(answers) = self.answers.read().unwrap_or_else(PoisonError::into_inner).get(&status) {
            return answers.increment(1);
        }
        let (listener, label) = (self.listener.clone(), status.as_str().to_owned());
        let answers = metrics::counter!("ratebus_http_requests_total", "listener" => listener, "status" => label);
        answers.increment(1);
        self.answers.write().unwrap_or_else(PoisonError::into_inner).insert(status, answers);
    }
}

fn request_id() -> Option<HeaderValue> {
    HeaderValue::from_str(Uuid::now_v7().simple().encode_lower(&mut Uuid::encode_buffer())).ok()
}

/// Writes the request's id into a problem document that has none; axum's bare refusal of a method becomes one.
fn with_request_id(mut response: Response, id: Option<&HeaderValue>) -> Response {
    let is_bare = |response: &Response| {
        response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(CONTENT_TYPE)
    };
    let document = match response.extensions_mut().remove::<ProblemDocument>() {
        Some(document) => document,
        None if is_bare(&response) => ProblemDocument::new(response.status(), "The path does not have this method."),
        None => return response,
    };
    let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let body = Json(document.with_request_id(id)).into_response().into_body();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response.map(|_| body)
}

/// Prices are true for a moment and accounts are private: nobody keeps an answer, unless its route says otherwise. Nobody
/// takes it for another type than it says, and a page that forgot to say what it may do may do nothing.
fn protect(response: &mut Response, over_tls: bool) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        headers.entry(CONTENT_SECURITY_POLICY).or_insert(STRICTEST_POLICY);
    }
    if over_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    tracing::error!(panic = panics::words(panic), "a request handler panicked");
    metrics::counter!("ratebus_http_panics_total").increment(1);
    ProblemDocument::new(StatusCode::INTERNAL_SERVER_ERROR, "The request failed; the fault is ours.").into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, http::header::HOST, routing::get};

    use super::*;

    async fn ask(router: Router, request_id: Option<&str>) -> (StatusCode, String, String) {
        let mut request = Request::new(axum::body::Body::empty());
        request.headers_mut().insert(HOST, HeaderValue::from_static("x"));
        if let Some(id) = request_id {
            request.headers_mut().insert(REQUEST_ID, id.parse().unwrap());
        }
        let response = Edge::new(router, "test").answer(request).await;
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
