use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
};
use ratebus_model::{Arrival, Timestamp};
use serde::Deserialize;

use crate::{Error, ErrorKind, Retry, feed::DecodeError};

/// An exchange's answer, complete and not yet believed.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) arrival: Arrival,
    pub(super) took: Duration,
}

impl Answer {
    /// The longest wait that an answer can impose on us.
    pub const LONGEST_IMPOSED: Duration = Duration::from_mins(15);

    /// When its last byte arrived.
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// How long ago it was asked for when it arrived: what it says may be as old as that.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of a success as JSON; texts may be borrowed from it.
    ///
    /// # Errors
    /// That of [`Answer::refusal`] for any other status, `Protocol` for what is not such JSON: a proxy's HTML page, say.
    pub fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Error> {
        if self.status.is_success() { self.document() } else { Err(self.refusal()) }
    }

    /// The body as JSON, whatever the status.
    ///
    /// # Errors
    /// `Protocol` for what is not such JSON.
    pub fn document<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match self.body.trim_ascii_start().first() {
                None => "the answer is empty".to_owned(),
                Some(b'<') => format!("the answer is a page and no JSON (HTTP {})", self.status),
                Some(_) => format!("the answer cannot be read (HTTP {})", self.status),
            };
            Error::new(ErrorKind::Protocol, what).because(error)
        })
    }

    /// What a status other than success is to us: `RateLimited` for 429, else `Connect`, to be retried when the answer says.
    pub fn refusal(&self) -> Error {
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS;
        let kind = if limited { ErrorKind::RateLimited } else { ErrorKind::Connect };
        let error = Error::new(kind, format!("the server answered with HTTP {}", self.status));
        match self.retry_after() {
            Some(wait) if limited || self.status == StatusCode::SERVICE_UNAVAILABLE => {
                error.with_retry(Retry::After(wait))
            }
            _ => error,
        }
    }

    /// When it was made by the server's clock, to the second (`Date`, RFC 9110, section 6.6.1); without its word by ours.
    pub fn server_time(&self) -> Timestamp {
        let date = self.headers.get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        date.map_or(self.arrival.time, Timestamp::from)
    }

    /// The wait that the answer asks for, in seconds or until a date (RFC 9110, section 10.2.3). The date is held against
    /// the answer's own, so that a clock that is wrong does not matter.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = |name| self.headers.get(name)?.to_str().ok().map(str::trim);
        let date = |text| httpdate::parse_http_date(text).ok();
        let after = text(header::RETRY_AFTER)?;
        let wait = match after.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => date(after)?.duration_since(date(text(header::DATE)?)?).unwrap_or_default(),
        };
        Some(wait.min(Self::LONGEST_IMPOSED))
    }
}

impl From<DecodeError> for Error {
    /// Of the kind `Protocol`.
    fn from(error: DecodeError) -> Self {
        Self::new(ErrorKind::Protocol, "the answer cannot be read").because(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Clock;

    fn answer(status: u16, headers: &[(header::HeaderName, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            arrival: Clock.arrival(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_no_json_says_what_it_is() {
        for (status, body, kind, words) in [
            (200, "", ErrorKind::Protocol, "is empty"),
            (200, " \n<!DOCTYPE html>", ErrorKind::Protocol, "is a page"),
            (200, "{\"a\":", ErrorKind::Protocol, "cannot be read"),
            (502, "<html>Bad gateway</html>", ErrorKind::Connect, "HTTP 502"),
            (301, "", ErrorKind::Connect, "HTTP 301"),
            (429, "", ErrorKind::RateLimited, "HTTP 429"),
        ] {
            let error = answer(status, &[], body).json::<Value>().unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(words), "{error}");
        }
        assert_eq!(answer(200, &[], "[1]").json::<Value>().unwrap(), serde_json::json!([1]));
    }

    #[test]
    fn a_wait_is_taken_in_seconds_or_until_a_date_and_not_for_ever() {
        let (after, date) = (header::RETRY_AFTER, header::DATE);
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (status, headers, expected) in [
            (429, vec![(after.clone(), "7")], Retry::After(Duration::from_secs(7))),
            (503, vec![(after.clone(), "0")], Retry::After(Duration::ZERO)),
            (429, vec![(after.clone(), "99999999999")], Retry::After(Answer::LONGEST_IMPOSED)),
            (
                429,
                vec![(after.clone(), "Sun, 06 Nov 1994 08:50:07 GMT"), (date.clone(), now)],
                Retry::After(Duration::from_secs(30)),
            ),
            (429, vec![(after.clone(), "Sun, 06 Nov 1994 08:00:00 GMT"), (date, now)], Retry::After(Duration::ZERO)),
            (429, vec![(after.clone(), now)], Retry::Backoff),
            (429, vec![(after.clone(), "soon")], Retry::Backoff),
            (500, vec![(after, "7")], Retry::Backoff),
            (429, vec![], Retry::Backoff),
        ] {
            assert_eq!(answer(status, &headers, "").refusal().retry(), expected, "{status} {headers:?}");
        }
    }
}
