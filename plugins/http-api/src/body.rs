use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use tokio::time::timeout;

/// The largest body taken, in bytes.
const LIMIT: usize = 16 * 1024;
/// How long a client may take to send a body.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a request's body was not read. Each family of routes says it in its own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is not declared as JSON. A browser's form cannot declare that, so no foreign page can send one.
    #[error("The content type must be application/json")]
    NotJson,
    /// It is longer than the limit.
    #[error("The body must not be longer than 16 KiB")]
    TooLarge,
    /// The client took too long.
    #[error("The body took too long")]
    Slow,
    /// The client stopped in the middle.
    #[error("The body ended early")]
    Broken,
}

impl BodyError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads the body of a request that is declared as JSON.
pub(crate) async fn read(mut request: Request) -> Result<Bytes, BodyError> {
    if !is_json(request.headers()) {
        return Err(BodyError::NotJson);
    }
    DefaultBodyLimit::max(LIMIT).apply(&mut request);
    let body = timeout(DEADLINE, Bytes::from_request(request, &())).await.map_err(|_| BodyError::Slow)?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => BodyError::TooLarge,
        _ => BodyError::Broken,
    })
}

/// `application/json`, with parameters or without.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_dribbles_is_not_waited_for() {
        let start = || stream::iter([Ok::<_, std::io::Error>("{")]);
        let request = |body| Request::builder().header(CONTENT_TYPE, "application/json").body(body).unwrap();
        let never = request(Body::from_stream(start().chain(stream::pending())));
        assert_eq!(read(never).await, Err(BodyError::Slow));
        let broken = start().chain(stream::iter([Err(std::io::ErrorKind::ConnectionReset.into())]));
        assert_eq!(read(request(Body::from_stream(broken))).await, Err(BodyError::Broken));
    }
}
