//! What processes of this version send each other, kept as documents: every later version must be able to read them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use std::time::{Duration, Instant};

use ratebus_model::{Arrival, Timestamp, wire::WirePayload};
use serde_json::{Value, json};

macro_rules! documents {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("wire/", $name, ".json")))),+]
    };
}

/// Never changed; what comes to be said in another way gets another document. A quote did not name its sources once.
const DOCUMENTS: [(&str, &str); 10] = documents![
    "rate",
    "reference",
    "quote",
    "quote_without_sources",
    "quote_withheld",
    "spread",
    "spread_removed",
    "pairs",
    "text",
    "base64"
];

/// What would be sent on at once of a document that came.
fn read(document: &Value) -> Value {
    let at = Instant::now() + Duration::from_hours(1);
    let arrival = Arrival { time: Timestamp::from_millis(1_790_000_000_000), at };
    let payload: WirePayload = serde_json::from_value(document.clone()).unwrap();
    serde_json::to_value(WirePayload::new(&payload.into_payload(arrival, Duration::ZERO).unwrap(), at)).unwrap()
}

/// Whether all that a document says is said again; more may be.
fn assert_says(name: &str, again: &Value, document: &Value) {
    let (document, again) = (&document[name_of(document)], &again[name_of(document)]);
    match document.as_object() {
        Some(members) => members.iter().for_each(|(key, value)| assert_eq!(&again[key], value, "{name}: {key}")),
        None => assert_eq!(again, document, "{name}"),
    }
}

/// What a document's payload is.
fn name_of(document: &Value) -> &str {
    document.as_object().unwrap().keys().next().unwrap()
}

#[test]
fn what_was_ever_sent_is_read_and_still_sent_so() {
    for (name, text) in DOCUMENTS {
        let document: Value = serde_json::from_str(text).unwrap();
        assert_says(name, &read(&document), &document);
    }
}

#[test]
fn what_a_newer_sender_adds_is_ignored_wherever_it_is() {
    for (name, text) in DOCUMENTS {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut newer = document.clone();
        // The outermost member says what it is.
        newer.as_object_mut().unwrap().values_mut().for_each(add);
        assert_says(name, &read(&newer), &document);
    }
}

/// Adds a member to each object.
fn add(to: &mut Value) {
    match to {
        Value::Object(members) => {
            members.values_mut().for_each(add);
            members.insert("mood".to_owned(), json!({ "of": ["the", 1, null] }));
        }
        Value::Array(values) => values.iter_mut().for_each(add),
        _ => {}
    }
}

#[test]
fn what_is_null_may_be_left_out() {
    let mut left_out = 0;
    for (name, text) in DOCUMENTS {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut shorter = document.clone();
        for members in shorter.as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
            let before = members.len();
            members.retain(|_, value| !value.is_null());
            left_out += before - members.len();
        }
        assert_says(name, &read(&shorter), &document);
    }
    assert!(left_out > 4, "{left_out}");
}
