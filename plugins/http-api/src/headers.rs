//! What requests bring and answers carry.

use std::time::Duration;

use axum::http::{HeaderMap, header::IF_NONE_MATCH};

/// The id that the listener gave the request, in the header `x-request-id`.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic())).then_some(id)
}

/// Whether `If-None-Match` names an entity tag, weak or not (RFC 9110, 13.1.2).
pub(crate) fn knows(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|tags| tags.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

/// A wait as the header `Retry-After` says it: in seconds, rounded up.
pub(crate) fn in_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// A number of seconds in words.
pub(crate) fn seconds_in_words(seconds: u32) -> String {
    if seconds == 1 { "1 second".to_owned() } else { format!("{seconds} seconds") }
}
