use std::{error::Error, io};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};

/// The largest body taken, in bytes.
const LIMIT: usize = 16 * 1024;

/// Why a request's body was not read. Each family of routes says it in its own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is not declared as JSON. A browser's form cannot declare that, so no foreign page can send one.
    #[error("The content type must be application/json")]
    NotJson,
    /// It is longer than the limit.
    #[error("The body must not be longer than 16 KiB")]
    TooLarge,
    /// The client took longer than the listener waits.
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
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => BodyError::TooLarge,
        _ if timed_out(&rejection) => BodyError::Slow,
        _ => BodyError::Broken,
    })
}

/// The body of a request, and who sends it: `sender` says, or refuses them. It is asked before anything is read, and again
/// when the body is there: that may take a client seconds, and who had a right may have lost it by then.
pub(crate) async fn read_from<T, R, E, S>(sender: impl Fn() -> S, request: Request) -> Result<(T, Bytes), E>
where
    S: Future<Output = Result<T, R>>,
    E: From<R> + From<BodyError>,
{
    sender().await?;
    let body = read(request).await?;
    Ok((sender().await?, body))
}

/// Whether the listener gave the body up.
fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut))
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
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_told_from_one_that_breaks_off() {
        for (kind, expected) in
            [(io::ErrorKind::TimedOut, BodyError::Slow), (io::ErrorKind::ConnectionReset, BodyError::Broken)]
        {
            let parts = stream::iter([Ok("{"), Err(io::Error::from(kind))]);
            let request = Request::builder().header(CONTENT_TYPE, "application/json");
            assert_eq!(read(request.body(Body::from_stream(parts)).unwrap()).await, Err(expected));
        }
    }
}
