//! The form of errors under `/v1`: RFC 9457 problem documents.

use std::time::Duration;

use axum::{
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use ratebus_sdk::{FieldProblem, ProblemDocument};

use crate::{
    body::BodyError,
    headers::{in_seconds, seconds_in_words},
    state::Unavailable,
};

/// Why a request under `/v1` was refused.
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
        let mut response = self.document.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
