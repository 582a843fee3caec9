//! The form of errors under `/v1`: RFC 9457 problem documents.

use axum::{
    extract::Request,
    http::{StatusCode, header::ALLOW},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use ratebus_sdk::{FieldProblem, ProblemDocument};

use crate::{
    body::BodyError,
    headers::{protect, request_id},
    state::Unavailable,
};

/// Why a request under `/v1` was refused. As a response it is only its status; [`render`] writes the document, because
/// it knows the request's id.
#[derive(Debug)]
pub(crate) struct Problem(ProblemDocument);

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(ProblemDocument::new(status, detail))
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
        Self(ProblemDocument::fields(errors))
    }

    /// 503: may work in a second.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
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
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self.0);
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
    written.headers_mut().extend(response.headers_mut().remove(ALLOW).map(|allow| (ALLOW, allow)));
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
