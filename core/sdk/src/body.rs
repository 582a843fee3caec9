use std::{error::Error, io, iter};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
    http::StatusCode,
};

/// Why a request's body could not be read. Shown, it is a sentence without its full stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error("The body is too long")]
    TooLarge,
    /// The client took longer than the listener waits.
    #[error("The body took too long")]
    Slow,
    /// The client stopped in the middle.
    #[error("The body ended early")]
    Broken,
}

impl BodyError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a request's body of at most `limit` bytes. The listener says how long that may take.
pub async fn read_body(mut request: Request, limit: usize) -> Result<Bytes, BodyError> {
    DefaultBodyLimit::max(limit).apply(&mut request);
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => BodyError::TooLarge,
        _ if timed_out(&rejection) => BodyError::Slow,
        _ => BodyError::Broken,
    })
}

/// Whether the listener gave the body up.
fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_told_from_one_that_breaks_off_and_from_one_that_is_too_long() {
        let broken = |kind| stream::iter([Ok("{"), Err(io::Error::from(kind))]);
        for (parts, limit, expected) in [
            (broken(io::ErrorKind::TimedOut), 9, BodyError::Slow),
            (broken(io::ErrorKind::ConnectionReset), 9, BodyError::Broken),
            (broken(io::ErrorKind::TimedOut), 0, BodyError::TooLarge),
        ] {
            assert_eq!(read_body(Request::new(Body::from_stream(parts)), limit).await, Err(expected));
        }
    }
}
