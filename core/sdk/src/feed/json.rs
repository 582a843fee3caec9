//! Reading JSON without losing a digit: numbers stay the text they were, where a parsed document would make them binary
//! floats.

use std::{borrow::Cow, collections::HashMap, fmt, str::FromStr};

use ratebus_model::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use super::DecodeError;

/// Reads a struct from a JSON object and from nothing else. (Serde would also take an array, its fields by position.)
pub fn object<'f, T: Deserialize<'f>>(text: &'f str) -> Result<T, DecodeError> {
    if !text.trim_start().starts_with('{') {
        return Err(DecodeError("not a JSON object".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| DecodeError(error.to_string()))
}

/// The elements of a JSON array.
pub fn elements(raw: &RawValue) -> Result<Vec<&RawValue>, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|error| DecodeError(error.to_string()))
}

/// A string, borrowed unless it holds escapes. (Serde borrows a `Cow` only outside of an `Option`.)
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'f>(#[serde(borrow)] pub Cow<'f, str>);

/// The JSON value `null`, for keys that are absent: where a side of a price is missing it must not be taken for unchanged, so
/// it is a value that is no price. `#[serde(borrow, default = "nothing")]`
pub fn nothing<'f>() -> &'f RawValue {
    RawValue::NULL
}

/// What stands between the quotes of a string, or the digits of a number; of anything else, its text. A price is read
/// from it, and what is no price is refused there.
pub fn unquoted(raw: &RawValue) -> &str {
    let text = raw.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// One side of a price: the price itself, or the levels of an order book, each an array that begins with its price, the
/// best one first. Without any level the side is empty, and the text is no price.
pub fn side(raw: &RawValue) -> &str {
    if !raw.get().starts_with('[') {
        return unquoted(raw);
    }
    let levels: Vec<Vec<&RawValue>> = serde_json::from_str(raw.get()).unwrap_or_default();
    levels.first().and_then(|level| level.first()).map_or("", |price| unquoted(price))
}

/// A time as exchanges write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeFormat {
    /// `2026-09-19T18:57:40.386328Z`.
    #[default]
    Rfc3339,
    /// Seconds since 1970, as a number or a string of digits.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

impl TimeFormat {
    /// Reads a time. One that cannot be read is none: it only orders ticks and tells their age.
    pub fn read(self, raw: &RawValue) -> Option<Timestamp> {
        let text = unquoted(raw);
        let micros = match self {
            Self::Rfc3339 => return text.parse().ok(),
            Self::S => 1_000_000,
            Self::Ms => 1000,
            Self::Us => 1,
        };
        text.parse::<i64>().ok()?.checked_mul(micros).map(Timestamp::from_micros)
    }
}

/// A place in a document (RFC 6901): `/data/0/bid`; empty is the whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// What stands there, as its text.
    pub fn find<'f>(&self, document: &'f RawValue) -> Option<&'f RawValue> {
        self.0.iter().try_fold(document, |raw, token| match raw.get().as_bytes().first()? {
            b'{' => serde_json::from_str::<HashMap<Cow<'f, str>, &'f RawValue>>(raw.get()).ok()?.remove(&**token),
            b'[' => elements(raw).ok()?.get(token.parse::<usize>().ok()?).copied(),
            _ => None,
        })
    }
}

/// Why a text is no [`Pointer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer such as \"/data/0/bid\"")]
pub struct InvalidPointer;

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/').ok_or(InvalidPointer)?.split('/');
        Ok(Self(tokens.map(|token| token.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_pointer_finds_the_text_with_all_its_digits() {
        let document = raw(r#"{"a/b":[{"~":123456789012345678.1234567890},"x\n"],"u":{"\u0061":5.10}}"#);
        for (pointer, expected) in [
            ("/a~1b/0/~0", Some("123456789012345678.1234567890")),
            ("/a~1b/1", Some(r#""x\n""#)),
            ("/u/a", Some("5.10")),
            ("/u/a/b", None),
            ("/a~1b/2", None),
            ("/a~1b/-1", None),
            ("/none", None),
        ] {
            let pointer: Pointer = pointer.parse().unwrap();
            assert_eq!(pointer.find(document).map(RawValue::get), expected, "{pointer}");
        }
        assert_eq!("".parse::<Pointer>().unwrap().find(document).unwrap().get(), document.get());
        assert_eq!("a".parse::<Pointer>(), Err(InvalidPointer));
    }

    #[test]
    fn times_are_read_by_their_format_or_not_at_all() {
        let expected: Timestamp = "2026-09-19T18:57:40Z".parse().unwrap();
        for (format, text) in [
            (TimeFormat::Rfc3339, r#""2026-09-19T18:57:40Z""#),
            (TimeFormat::S, "1789844260"),
            (TimeFormat::Ms, r#""1789844260000""#),
            (TimeFormat::Us, "1789844260000000"),
        ] {
            assert_eq!(format.read(raw(text)), Some(expected), "{format:?}");
        }
        assert_eq!(TimeFormat::S.read(raw("9223372036854775807")), None);
        assert_eq!(TimeFormat::Ms.read(raw("1.5")), None);
        assert_eq!(TimeFormat::Rfc3339.read(raw("null")), None);
    }

    #[test]
    fn a_side_is_a_price_or_the_first_of_its_levels() {
        for (text, expected) in [
            (r#""1.50""#, "1.50"),
            ("1.50", "1.50"),
            (r#"[["1.50","3"],["1.40","9"]]"#, "1.50"),
            ("[[1.50]]", "1.50"),
            ("[]", ""),
            ("[[]]", ""),
            ("[1.50,3]", ""),
            ("{}", "{}"),
        ] {
            assert_eq!(side(raw(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_whatever_is_in_it() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[expect(dead_code, reason = "it is not read")]
            bid: u8,
        }
        assert!(object::<Row>(r#"{"bid":1,"new":[]}"#).is_ok());
        assert!(object::<Row>("[1]").is_err());
        assert_eq!(
            (unquoted(raw(r#""1.50""#)), unquoted(raw("1.50")), unquoted(raw("null"))),
            ("1.50", "1.50", "null")
        );
    }
}
