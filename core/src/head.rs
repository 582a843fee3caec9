//! What is refused by a request's head alone, whatever it asks for. hyper refuses before us what it cannot read, and a
//! head that is longer than its buffer.

use axum::{
    extract::Request,
    http::{StatusCode, Version, header::HOST},
};
use ratebus_sdk::ProblemDocument;

/// The longest path and query, in bytes.
const LONGEST_TARGET: usize = 2048;
/// The most header fields.
const MOST_FIELDS: usize = 64;

/// Why the request is refused, if it is.
pub(crate) fn refusal(request: &Request) -> Option<ProblemDocument> {
    let problem = |status, detail: &str| Some(ProblemDocument::new(status, detail));
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > LONGEST_TARGET) {
        return problem(StatusCode::URI_TOO_LONG, "The path and query must not be longer than 2 KiB.");
    }
    if request.headers().len() > MOST_FIELDS {
        let detail = "There must not be more than 64 header fields.";
        return problem(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail);
    }
    // RFC 9112, section 3.2.
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return problem(StatusCode::BAD_REQUEST, "There must be one header field Host.");
    }
    None
}
