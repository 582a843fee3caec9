//! What an answer is: data, or one of the API's own errors, each with its own act.

use std::time::Duration;

use ratebus_model::Timestamp;
use ratebus_sdk::{
    Error, ErrorKind, Retry,
    feed::json::{Text, TimeFormat, unquoted},
    poll::Answer,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow)]
    status: Status<'b>,
    #[serde(borrow)]
    data: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Status<'b> {
    #[serde(borrow)]
    timestamp: Option<&'b RawValue>,
    /// A number; in places a string of digits, or null.
    #[serde(borrow)]
    error_code: Option<&'b RawValue>,
    #[serde(borrow)]
    error_message: Option<Text<'b>>,
}

/// A good answer.
pub(crate) struct Reply<'b> {
    /// When it was made, by the clock that its other times are of.
    pub(crate) time: Timestamp,
    pub(crate) data: &'b RawValue,
}

/// An answer that is none.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What was asked for can never be answered; the words say why. Other requests can.
    Invalid(String),
    /// The plan lacks this version of the API.
    Plan(Error),
    /// The credits of the day or the month are used up.
    Credits(Period),
    /// Everything else: when to ask again is in the error.
    Error(Error),
}

/// What credits are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    Day,
    Month,
}

impl Period {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error(error) | Refusal::Plan(error) => error,
            Refusal::Invalid(words) => Self::new(ErrorKind::Protocol, words),
            Refusal::Credits(_) => Self::new(ErrorKind::RateLimited, "the credits are used up"),
        }
    }
}

/// The limit of a minute ends with the minute, that of an address nobody knows when.
const MINUTE: Duration = Duration::from_mins(1);
const ADDRESS: Duration = Duration::from_mins(2);

/// Tells data from errors: a status of 200 may carry one, too. `key` is taken out of whatever the API says.
pub(crate) fn read<'b>(answer: &'b Answer, key: &SecretString) -> Result<Reply<'b>, Refusal> {
    let status = answer.status();
    let Envelope { status: said, data } = match answer.document::<Envelope<'_>>() {
        Ok(envelope) => envelope,
        Err(error) if status.is_success() => return Err(error.into()),
        // Some proxy's page, or nothing.
        Err(_) => return Err(answer.refusal().into()),
    };
    let code = said.error_code.map_or(0, |code| unquoted(code).parse::<i64>().unwrap_or(-1));
    if code == 0 && status.is_success() {
        let time = said.timestamp.and_then(|time| TimeFormat::Rfc3339.read(time)).unwrap_or(answer.arrival().time);
        let data = data.ok_or_else(|| Error::new(ErrorKind::Protocol, "neither data nor an error"))?;
        return Ok(Reply { time, data });
    }
    let message = said.error_message.map(|Text(text)| text).unwrap_or_default();
    let message: String = message.replace(key.expose_secret(), "…").chars().take(160).collect();
    let words = format!("CoinMarketCap says {code} (HTTP {status}): {message:?}", status = status.as_u16());
    Err(refusal(code, words, answer))
}

fn refusal(code: i64, words: String, answer: &Answer) -> Refusal {
    let after = |least: Duration| Retry::After(answer.retry_after().unwrap_or_default().max(least));
    let stop = |words| Error::new(ErrorKind::Auth, words).with_retry(Retry::Never);
    let limited = |words, least| Error::new(ErrorKind::RateLimited, words).with_retry(after(least)).into();
    match (code, answer.status().as_u16()) {
        (400, _) => Refusal::Invalid(words),
        (1006, _) => Refusal::Plan(stop(words)),
        (1008, _) => limited(words, MINUTE),
        (1009, _) => Refusal::Credits(Period::Day),
        (1010, _) => Refusal::Credits(Period::Month),
        (1011, _) => limited(words, ADDRESS),
        (1001..=1005 | 1007, _) | (_, 401..=403) => stop(words).into(),
        (_, 429) => limited(words, MINUTE),
        (_, 400) => Refusal::Invalid(words),
        _ => Error::new(ErrorKind::Connect, words).into(),
    }
}
