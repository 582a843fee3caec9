use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName,
        header::{IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
};
use utoipa::IntoParams;

/// The conditions of a request (RFC 9110, 13.1), judged against a spread's revision; `None` where none is set. A text
/// that is no list of entity tags matches nothing.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Condition {
    /// One of these revisions, quoted, or any for `*`.
    #[param(rename = "If-Match", nullable = false)]
    matches: Option<String>,
    /// None of these revisions, quoted, or none at all for `*`.
    #[param(rename = "If-None-Match", nullable = false)]
    none_matches: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Condition {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Condition {
    fn of(headers: &HeaderMap) -> Self {
        Self { matches: joined(headers, &IF_MATCH), none_matches: joined(headers, &IF_NONE_MATCH) }
    }

    /// Whether a change may go ahead.
    pub(crate) fn holds(&self, revision: Option<u64>) -> bool {
        self.matches.as_ref().is_none_or(|tags| contains(tags, revision)) && !self.is_known(revision)
    }

    /// Whether the client says that it has this revision.
    pub(crate) fn is_known(&self, revision: Option<u64>) -> bool {
        self.none_matches.as_ref().is_some_and(|tags| contains(&tags.replace("W/", ""), revision))
    }
}

/// The entity tag of a revision.
pub(crate) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn contains(tags: &str, revision: Option<u64>) -> bool {
    revision.is_some_and(|revision| tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag(revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: HeaderName, value: &str) -> Condition {
        Condition::of(&HeaderMap::from_iter([(name, value.parse().unwrap())]))
    }

    #[test]
    fn conditions_as_in_rfc_9110() {
        assert!(Condition::default().holds(None) && Condition::default().holds(Some(3)));
        // (If-Match, holds with revision 3, holds with none)
        for (value, at_3, at_none) in [
            ("\"3\"", true, false),
            ("\"1\", \"3\"", true, false),
            ("*", true, false),
            ("\"4\"", false, false),
            ("W/\"3\"", false, false),
            ("3", false, false),
            ("", false, false),
        ] {
            let condition = condition(IF_MATCH, value);
            assert_eq!((condition.holds(Some(3)), condition.holds(None)), (at_3, at_none), "{value}");
        }
        for (value, at_3, at_none) in [
            ("*", false, true),
            ("\"3\"", false, true),
            ("W/\"3\"", false, true),
            ("\"4\"", true, true),
            ("x", true, true),
        ] {
            let condition = condition(IF_NONE_MATCH, value);
            assert_eq!((condition.holds(Some(3)), condition.holds(None)), (at_3, at_none), "{value}");
        }
    }
}
