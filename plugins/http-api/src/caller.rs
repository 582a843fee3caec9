use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};

use crate::{accounts::QuotaSlot, headers::request_id};

/// The longest token looked at; ours have about 400 characters.
const LONGEST: usize = 1024;

/// Who asks: from where, in which request, and with which token. No `Debug`: a token is a secret.
pub(crate) struct Caller {
    /// For finding what belongs together in the log.
    pub(crate) request_id: Option<String>,
    /// The other end of the connection.
    pub(crate) peer: Option<SocketAddr>,
    /// The bearer token, not yet checked.
    pub(crate) token: Option<String>,
    /// For what is counted of the caller.
    pub(crate) quota: QuotaSlot,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            request_id: request_id(&parts.headers).map(str::to_owned),
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            token: bearer(&parts.headers).map(str::to_owned),
            quota: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// The token of `Authorization: Bearer <token>`: one such header, one space, nothing after it.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let valid = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= LONGEST
        && token.bytes().all(allowed);
    valid.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_the_exact_form_is_a_token() {
        assert_eq!(token_of(&["Bearer a.b-c_d"]).as_deref(), Some("a.b-c_d"));
        assert_eq!(token_of(&["bearer a"]).as_deref(), Some("a"));
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        for value in
            ["", "Bearer", "Bearer ", "Bearer  a", "Bearer a ", "Bearer a b", "Basic a", "a", "Bearer a,b", &long]
        {
            assert_eq!(token_of(&[value]), None, "{value:?}");
        }
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&["Bearer a", "Bearer a"]), None);
    }
}
