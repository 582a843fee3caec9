use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use ratebus_sdk::read_body;

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
    /// It did not come as a whole, or not in time.
    #[error(transparent)]
    Unread(ratebus_sdk::BodyError),
}

impl From<ratebus_sdk::BodyError> for BodyError {
    fn from(error: ratebus_sdk::BodyError) -> Self {
        if error == ratebus_sdk::BodyError::TooLarge { Self::TooLarge } else { Self::Unread(error) }
    }
}

impl BodyError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unread(error) => error.status(),
        }
    }
}

/// Reads the body of a request that is declared as JSON.
pub(crate) async fn read(request: Request) -> Result<Bytes, BodyError> {
    if !is_json(request.headers()) {
        return Err(BodyError::NotJson);
    }
    Ok(read_body(request, LIMIT).await?)
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

/// `application/json`, with parameters or without.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}
