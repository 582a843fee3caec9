//! The handshake of WebSocket (RFC 6455, section 4.2).

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use hyper::upgrade::OnUpgrade;
use ratebus_sdk::ProblemDocument;
use sha1::{Digest, Sha1};

/// What the standard has a server append to the key of its client.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A request that may become a WebSocket.
pub(crate) struct Handshake {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl Handshake {
    /// The answer, and the connection, for as soon as the answer has gone out.
    pub(crate) fn accept(self) -> (Response, OnUpgrade) {
        let headers = [
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        ((StatusCode::SWITCHING_PROTOCOLS, headers).into_response(), self.on_upgrade)
    }
}

impl<S: Sync> FromRequestParts<S> for Handshake {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let bad = |detail| ProblemDocument::new(StatusCode::BAD_REQUEST, detail).into_response();
        if parts.method != Method::GET || !names(parts, CONNECTION, "upgrade") || !names(parts, UPGRADE, "websocket") {
            return Err(bad(
                "A WebSocket's handshake was expected: GET with Connection: upgrade and Upgrade: websocket.",
            ));
        }
        if parts.headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            let problem = ProblemDocument::new(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version: 13 was expected.");
            return Err(([(SEC_WEBSOCKET_VERSION, VERSION)], problem).into_response());
        }
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let Some(key) = key.filter(|key| BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16)) else {
            return Err(bad("Sec-WebSocket-Key: 16 bytes in base64 were expected."));
        };
        let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            let detail = "This connection cannot become a WebSocket.";
            return Err(ProblemDocument::new(StatusCode::UPGRADE_REQUIRED, detail).into_response());
        };
        Ok(Self { accept: accept(key).map_err(IntoResponse::into_response)?, on_upgrade })
    }
}

/// Whether a header that is a list has this entry.
fn names(parts: &Parts, header: HeaderName, entry: &str) -> bool {
    let values = parts.headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(entry))
}

fn accept(key: &[u8]) -> Result<HeaderValue, StatusCode> {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    BASE64.encode(&hash).try_into().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of section 1.3.
    #[test]
    fn the_answer_shows_that_the_key_was_understood() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
