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
    middleware::Next,
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

/// Adds to the answer what a page of the request's origin may do with it.
pub(crate) async fn cors(request: Request, next: Next) -> Response {
    let origins = request.extensions().get::<Origins>().cloned().unwrap_or_default();
    if origins.is_empty() {
        return next.run(request).await;
    }
    let allowed = allow_origin(&origins, request.headers());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = next.run(request).await;
    if let Some(allowed) = allowed {
        if is_preflight {
            response = preflight(response);
        } else {
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
    if !origins.is_any() {
        response.headers_mut().append(VARY, HeaderName::from_static("origin").into());
    }
    response
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
