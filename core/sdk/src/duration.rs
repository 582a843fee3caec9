//! Durations as the config writes them: a whole number and its unit, `500ms`, `10s`, `5m`, `2h`.
//!
//! For serde: `#[serde(with = "ratebus_sdk::duration")]`, and `"ratebus_sdk::duration::option"` for an optional one.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Reads a duration; the error says what was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text:?} is not a duration such as \"500ms\", \"10s\", \"5m\" or \"2h\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(invalid()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(invalid)
}

/// For `#[serde(with = "ratebus_sdk::duration")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// For `#[serde(default, with = "ratebus_sdk::duration::option")]`.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Error, Serialize, Serializer, parse};

    /// An absent key is `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| parse(&text)).transpose().map_err(D::Error::custom)
    }

    /// In milliseconds.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| format!("{}ms", duration.as_millis())).serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let cases = [("0s", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("0010s", 10_000)];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in ["", "10", "s", "10 s", "-1s", "+1s", "1.5s", "1S", "1d", "1sm", "99999999999999999h", "١s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
