//! The form of errors under `/v1`: RFC 9457 problem documents.

use axum::{
    extract::Request,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use serde::Serialize;

use crate::{
    body::BodyError,
    headers::{protect, request_id},
    state::Unavailable,
};

/// Why a request under `/v1` was refused. As a response it is only its status; [`render`] writes the document, because
/// it knows the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    /// In seconds.
    retry_after: Option<u32>,
}

/// A member of the body that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// Its path: `buy.value`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 422 without a field of its own.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 422: these members are wrong.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        Self { errors, ..Self::invalid(detail.join("; ")) }
    }

    /// 503: may work in a second.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
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
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the document of `response`, if it is a [`Problem`] or axum's own bare refusal of a method.
pub(crate) fn render(mut response: Response, request_id: Option<&str>) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not have this method")
        }
        None => return response,
    };
    let Problem { status, detail, errors, retry_after } = &problem;
    let (title, status) = (title(*status), *status);
    let document = Document { r#type: "about:blank", title, status: status.as_u16(), detail, errors, request_id };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove("content-length");
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = *retry_after {
        parts.headers.insert(RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, serde_json::to_vec(&document).unwrap_or_default().into())
}

/// The names of RFC 9110, where the library still has older ones.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        status => status.canonical_reason().unwrap_or("Error"),
    }
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
