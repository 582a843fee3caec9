//! The original project's form of answers: `{"state", "statusCode", "message", "data"}`.

use std::time::Duration;

use axum::{
    Json,
    extract::Request,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    body::BodyError,
    headers::{in_seconds, seconds_in_words},
    state::Unavailable,
};

/// What was asked for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Success<'a, T> {
    #[schema(pattern = "^success$")]
    state: &'static str,
    #[schema(minimum = 200, maximum = 200)]
    status_code: u16,
    message: &'a str,
    data: T,
}

/// It is done, and there is nothing more to say.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done<'a> {
    #[schema(pattern = "^success$")]
    state: &'static str,
    #[schema(minimum = 200, maximum = 200)]
    status_code: u16,
    message: &'a str,
}

/// It was refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failed {
    #[schema(pattern = "^failed$")]
    state: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status_code: u16,
    /// Why, for people.
    message: String,
    /// The fields at fault, where fields are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    data: Option<Errors>,
}

/// 200 with `data`.
pub(crate) fn success(message: &str, data: impl Serialize) -> Response {
    Json(Success { state: "success", status_code: 200, message, data }).into_response()
}

/// 200 with a message alone.
pub(crate) fn done(message: &str) -> Response {
    Json(Done { state: "success", status_code: 200, message }).into_response()
}

/// A request that was refused.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    faults: Vec<Fault>,
    /// In seconds.
    retry_after: Option<u32>,
}

/// One thing wrong with a request's body, as `AdonisJS` reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The rule that was broken: `required`, `email`, `minLength`, …
    pub(crate) rule: &'static str,
    /// The member of the body.
    pub(crate) field: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(rule: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { rule, field, message: message.into() }
    }
}

#[derive(Serialize, ToSchema)]
struct Errors {
    errors: Vec<Fault>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), faults: Vec::new(), retry_after: None }
    }

    /// 422: these are wrong.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Validation failed.") }
    }

    /// 422: the body is no JSON object at all.
    pub(crate) fn unreadable(message: String) -> Self {
        Self::invalid(vec![Fault::new("json", "", message)])
    }

    /// 503: may work in a second.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// 429: not before this time has passed.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let seconds = in_seconds(wait);
        let message = format!("Too many attempts, try again in {}", seconds_in_words(seconds));
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

impl From<Unavailable> for Failure {
    fn from(_: Unavailable) -> Self {
        Self::unavailable("Service temporarily unavailable")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let data = (!self.faults.is_empty()).then_some(Errors { errors: self.faults });
        let body = Failed { state: "failed", status_code: self.status.as_u16(), message: self.message, data };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The original's answer to a path it does not know.
pub(crate) fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "We couldn't find what you're looking for.")
}

/// Makes every answer of a path one of this family, that to an unknown method included.
pub(crate) fn family(methods: MethodRouter) -> MethodRouter {
    methods.layer(from_fn(async |request: Request, next: Next| {
        let mut response = next.run(request).await;
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let allow = response.headers_mut().remove(ALLOW);
            response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into_response();
            response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
        }
        response
    }))
}
