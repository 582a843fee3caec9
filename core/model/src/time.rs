use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Invalid, schema::text_schema, serde_as_text};

/// A moment of wall-clock time in UTC, in microseconds since 1970. Text form: RFC 3339, `2026-09-19T18:57:42.603536Z`.
///
/// For people and for exchanges' own times. Ages are never computed from it where a monotonic clock can be used.
/// Bounded to the years 0 to 9999, the range of RFC 3339: whatever an exchange sends can be shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `0000-01-01T00:00:00.000000Z`.
    const FIRST: i64 = -62_167_219_200_000_000;
    /// `9999-12-31T23:59:59.999999Z`.
    const LAST: i64 = 253_402_300_799_999_999;

    /// From microseconds since 1970, saturating.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::FIRST {
            Self(Self::FIRST)
        } else if micros > Self::LAST {
            Self(Self::LAST)
        } else {
            Self(micros)
        }
    }

    /// From milliseconds since 1970, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1000))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long before `later` this was; zero if it was not before.
    pub fn age_at(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// This moment plus `span`, saturating.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match at.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self::from_micros(micros(since)),
            Err(before) => Self::from_micros(-micros(before.duration())),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    /// Digits past the microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "an RFC 3339 time");
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid())?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1000)).map(Self::from_micros).map_err(|_| invalid())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000).map_err(|_| fmt::Error)?;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Timestamp);
text_schema!(
    Timestamp,
    "A moment in UTC, RFC 3339 with microseconds.",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    "2026-09-19T18:57:46.901377Z"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_to_the_microsecond() {
        let text = "2026-09-19T18:57:42.603536Z";
        assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(text.to_owned()));
        let long = "2024-05-17T11:21:16.318303322Z".parse::<Timestamp>().map(|t| t.to_string());
        assert_eq!(long, Ok("2024-05-17T11:21:16.318303Z".to_owned()));
    }

    #[test]
    fn every_time_can_be_shown() {
        let cases = [
            (i64::MIN, "0000-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)));
        }
    }
}
