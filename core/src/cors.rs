//! Cross-origin requests of browsers (the Fetch standard, "CORS protocol"): pages of the origins that a listener lists may
//! read its answers, and no others. Credentials are never allowed: there are no cookies, and a bearer token is none.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
        },
    },
    response::{IntoResponse, Response},
};
use ratebus_sdk::Origins;

/// What a page may send beside what every page may.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, if-match, if-none-match");
/// What a page may read beside what every page may.
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("etag, retry-after, ratelimit, ratelimit-policy, x-request-id");
/// How long a browser may remember a preflight's answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What pages may do with the answer to a request, on a listener that lists origins.
pub(crate) struct Cors {
    /// The origin of the page that sent it, if it is listed.
    allowed: Option<HeaderValue>,
    is_preflight: bool,
    /// Whether another page may be answered otherwise.
    varies: bool,
}

impl Cors {
    /// Reads a request; `None` where no page of another origin may do anything.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let origins = request.extensions().get::<Origins>().filter(|origins| !origins.is_empty())?;
        let is_preflight =
            request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let allowed = allow_origin(origins, request.headers());
        Some(Self { allowed, is_preflight, varies: !origins.is_any() })
    }

    /// Adds it to the answer.
    pub(crate) fn apply(self, mut response: Response) -> Response {
        if let Some(allowed) = self.allowed {
            if self.is_preflight {
                response = preflight(response);
            } else {
                response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
            }
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        if self.varies {
            response.headers_mut().append(VARY, HeaderName::from_static("origin").into());
        }
        response
    }
}

fn allow_origin(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(ORIGIN).iter();
    match (given.next(), given.next()) {
        (Some(origin), None) if origins.lists(origin) => {
            Some(if origins.is_any() { HeaderValue::from_static("*") } else { origin.clone() })
        }
        _ => None,
    }
}

/// No path has OPTIONS, so the refusal says which methods there are. A path that is not there stays so.
fn preflight(refusal: Response) -> Response {
    match refusal.headers().get(ALLOW) {
        Some(methods) if refusal.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let headers = [
                (ACCESS_CONTROL_ALLOW_METHODS, methods.clone()),
                (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ];
            (StatusCode::NO_CONTENT, headers).into_response()
        }
        _ => refusal,
    }
}
