use proptest::prelude::*;
use ratebus_sdk::model::decimal;
use serde_json::json;

use crate::harness::Api;

const GROUPS: &[&str] = &["accounts", "spreads"];

/// A decimal number in one of the ways JSON can write it.
fn number() -> impl Strategy<Value = String> {
    let plain = ("-?", "0|[1-9][0-9]{0,11}", prop::option::of("[0-9]{1,12}"));
    plain.prop_map(|(sign, whole, fraction)| match fraction {
        Some(fraction) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{whole}"),
    })
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        number(),
        (number(), -40_i32..40).prop_map(|(number, exponent)| format!("{number}e{exponent}")),
        "[-+0-9.,eExX_ ]{0,44}",
        "\\PC{0,12}",
    ]
}

/// From a request's text through validation, database and bus back to an answer's text: the same number, or a refusal.
#[test]
fn no_digit_is_lost_on_the_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (api, admin) = runtime.block_on(async {
        let api = Api::start(GROUPS).await;
        let admin = api.admin().await;
        (api, admin)
    });
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in anything())| {
        // A markup on the buy side alone is always right, unless it is negative.
        let body = json!({ "buy": { "value": text }, "sell": { "value": "0" } }).to_string();
        let answer = runtime.block_on(api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(&body)));
        match decimal::parse(&text) {
            Ok(value) if value >= decimal::Decimal::ZERO => {
                prop_assert!(answer.status == 200 || answer.status == 201, "{:?}", answer);
                let read = runtime.block_on(api.authed(&admin, "GET", "/v1/spreads/BTC_USD", None)).json();
                prop_assert_eq!(&read["buy"]["value"], &json!(value.to_string()));
                let published = api.published_spreads().last().unwrap().rule.unwrap().adjustments().buy.value;
                prop_assert_eq!(published.to_string(), value.to_string());
            }
            _ => prop_assert_eq!(answer.status, 422),
        }
        // The original's endpoint takes the same text as a string, and as a bare number where JSON has it.
        let body = format!(r#"{{"buy":{},"sell":-1000000000000}}"#, json!(text));
        let as_text = runtime.block_on(api.authed(&admin, "POST", "/settings/update-rates", Some(&body)));
        let expected = match decimal::parse(text.trim()) {
            Ok(value) if value >= decimal::Decimal::from(-1_000_000_000_000_i64) => 200,
            _ => 422,
        };
        prop_assert_eq!(as_text.status, expected, "{:?}", as_text);
        if serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok() && decimal::parse(text.trim()).is_ok() {
            let body = format!(r#"{{"buy":{text},"sell":-1000000000000}}"#);
            let bare = runtime.block_on(api.authed(&admin, "POST", "/settings/update-rates", Some(&body)));
            prop_assert_eq!(bare.status, expected);
        }
    });
}
