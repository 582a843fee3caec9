use std::fmt;

use ratebus_sdk::FieldProblem;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object, in order and as text, so that numbers keep every digit. A name given twice is refused:
/// two readers could take different ones.
pub(crate) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object and nothing after it.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| format!("the body is not a valid JSON object: {error}"))
    }

    /// As [`Fields::parse`], for an object inside another.
    pub(crate) fn nested(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The text of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// As [`Fields::get`], with `null` taken as absent, as the original did.
    pub(crate) fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The members that are not `known`, each with what is wrong with it; `prefix` is the object's own path.
    pub(crate) fn unknown(&self, prefix: &str, known: &[&str]) -> Vec<FieldProblem> {
        let short = |name: &str| name.chars().take(32).collect::<String>();
        let message = format!("is not known here; there are {}", known.join(" and "));
        let unknown = self.names().filter(|name| !known.contains(name));
        unknown
            .map(|name| FieldProblem { field: format!("{prefix}{}", short(name)), message: message.clone() })
            .collect()
    }
}

/// The text of a JSON string; `None` for any other value.
pub(crate) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format_args!("the member {name:?} is given twice")));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text() {
        let fields = Fields::parse(br#" {"a": 1.50, "b": "x", "c": {"d": [1]}, "e": null} "#).ok().unwrap();
        assert_eq!(fields.get("a").map(RawValue::get), Some("1.50"));
        assert_eq!(fields.get("b").and_then(string), Some("x".to_owned()));
        assert_eq!(fields.get("a").and_then(string), None);
        assert!(Fields::nested(fields.get("c").unwrap()).is_some());
        assert!(fields.get("e").is_some() && fields.given("e").is_none() && fields.get("f").is_none());
        assert_eq!(fields.names().collect::<Vec<_>>(), ["a", "b", "c", "e"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let repeated = br#"{"a":1,"\u0061":2}"#;
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for text in
            [&repeated[..], b"", b"[]", b"1", b"{", b"{}x", b"{'a':1}", b"{\"a\":NaN}", b"\xff{}", deep.as_bytes()]
        {
            assert!(Fields::parse(text).is_err());
        }
    }
}
