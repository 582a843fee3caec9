//! The form of errors under `/v1`: RFC 9457 problem documents.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use ratebus_sdk::{FieldProblem, ProblemDocument};

use crate::{
    body::BodyError,
    headers::{in_seconds, protect, request_id, seconds_in_words},
    state::Unavailable,
};

/// Why a request under `/v1` was refused. As a response it is only its status; [`render`] writes the document, because
/// it knows the request's id.
#[derive(Debug)]
pub(crate) struct Problem {
    document: ProblemDocument,
    /// In seconds, where it is not the document's own.
    retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        ProblemDocument::new(status, detail).into()
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 422 without a field of its own.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 422: these members are wrong.
    pub(crate) fn fields(errors: Vec<FieldProblem>) -> Self {
        ProblemDocument::fields(errors).into()
    }

    /// 503: may work in a second.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 429: not before this time has passed.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let seconds = in_seconds(wait);
        let detail = format!("too many attempts; try again in {}", seconds_in_words(seconds));
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }
}

impl From<ProblemDocument> for Problem {
    fn from(document: ProblemDocument) -> Self {
        Self { document, retry_after: None }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.document.status().into_response();
        response.headers_mut().extend(self.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())));
        response.extensions_mut().insert(self.document);
        response
    }
}

/// Writes the document of `response`, if it is a [`Problem`] or axum's own bare refusal of a method.
pub(crate) fn render(mut response: Response, request_id: Option<&str>) -> Response {
    let document = match response.extensions_mut().remove::<ProblemDocument>() {
        Some(document) => document,
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            ProblemDocument::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not have this method")
        }
        None => return response,
    };
    let mut written = document.with_request_id(request_id).into_response();
    for name in [ALLOW, RETRY_AFTER] {
        written.headers_mut().extend(response.headers_mut().remove(&name).map(|value| (name, value)));
    }
    written
}

/// Makes every answer of a path one of this family, that to an unknown method included.
pub(crate) fn family(methods: MethodRouter) -> MethodRouter {
    methods.layer(from_fn(async |request: Request, next: Next| {
        let id = request_id(request.headers()).map(str::to_owned);
        let mut response = render(next.run(request).await, id.as_deref());
        protect(&mut response);
        response
    }))
}
