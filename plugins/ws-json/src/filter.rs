use std::{collections::BTreeMap, fmt};

use ratebus_sdk::feed::json::{Pointer, Text, unquoted};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

/// Which frames are meant: those that are this text and nothing else (`"pong"`), or those that have these values
/// (`{ "/type" = "heartbeat" }`), a string by what is in it and anything else by its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The whole frame.
    Text(String),
    /// What stands where in it.
    Values(BTreeMap<Pointer, String>),
}

impl Default for Filter {
    /// Every frame.
    fn default() -> Self {
        Self::Values(BTreeMap::new())
    }
}

impl Filter {
    /// Whether a frame that need not be JSON is meant.
    pub(crate) fn is_text(&self, frame: &str) -> bool {
        matches!(self, Self::Text(text) if text == frame)
    }

    /// Whether a document is meant.
    pub(crate) fn matches(&self, document: &RawValue) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Values(values) => {
                values.iter().all(|(pointer, value)| pointer.find(document).is_some_and(|raw| string(raw).0 == *value))
            }
        }
    }
}

/// What is in a string; of anything else, its text.
pub(crate) fn string(raw: &RawValue) -> Text<'_> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| Text(unquoted(raw).into()))
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FilterVisitor)
    }
}

struct FilterVisitor;

impl<'de> Visitor<'de> for FilterVisitor {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole frame as a string, or a table such as { \"/type\" = \"heartbeat\" }")
    }

    fn visit_str<E>(self, text: &str) -> Result<Filter, E> {
        Ok(Filter::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Filter::Values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_meant_by_its_text_or_by_all_of_its_values() {
        let read = |json: &str| serde_json::from_str::<Filter>(json).unwrap();
        assert!(read(r#""pong""#).is_text("pong"));
        assert!(!read(r#""pong""#).is_text("\"pong\""));
        let document: &RawValue =
            serde_json::from_str(r#"{"type":"t\u0069cker","data":[{"ok":true,"n":1.0}]}"#).unwrap();
        for (json, expected) in [
            ("{}", true),
            (r#"{"/type":"ticker"}"#, true),
            (r#"{"/type":"ticker","/data/0/ok":"true"}"#, true),
            (r#"{"/data/0/n":"1.0"}"#, true),
            (r#"{"/data/0/n":"1"}"#, false),
            (r#"{"/type":"ticker","/none":"x"}"#, false),
        ] {
            assert_eq!(read(json).matches(document), expected, "{json}");
        }
        for json in ["5", r#"{"type":"ticker"}"#, r#"{"/type":5}"#] {
            assert!(serde_json::from_str::<Filter>(json).is_err(), "{json}");
        }
    }
}
