use std::collections::BTreeMap;

use ratebus_sdk::{Compat, model::Scope};
use serde_json::{Value, json};

use crate::harness::{Api, env, parse};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];
const PATH: &str = "/settings/update-rates";

#[tokio::test]
async fn the_originals_endpoint() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let send = async |body: &str| api.authed(&admin, "POST", PATH, Some(body)).await;
    assert_eq!(send(r#"{"buy":450,"sell":433}"#).await.envelope(200, "Rates created"), json!(null));
    send(r#"{"buy":"450.50","sell":"4.33e2","comment":"ignored"}"#).await.envelope(200, "Rates updated");

    // Both are added to the customer's prices, digit for digit; /v1 shows them as markups.
    let published = api.published_spreads();
    let adjustments = published[1].rule.unwrap().adjustments();
    assert_eq!(
        (adjustments.buy.value.to_string(), adjustments.sell.value.to_string()),
        ("450.50".into(), "433".into())
    );
    assert_eq!((published[1].scope, published[1].revision, published.len()), (Scope::Pair(parse("BTC_USD")), 2, 2));
    let spread = api.authed(&admin, "GET", "/v1/spreads/BTC_USD", None).await.json();
    assert_eq!(spread["sell"], json!({ "unit": "absolute", "value": "-433" }));

    api.call("POST", PATH, &[], "").await.envelope(401, "Unauthorized access");
    api.authed("x.y.z", "POST", PATH, Some("{}")).await.envelope(401, "Unauthorized access");
    api.authed(&admin, "POST", PATH, None).await.envelope(415, "The content type must be application/json");
}

#[tokio::test]
async fn what_is_no_number_is_refused_in_the_originals_words() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let faults = async |body: &str| api.authed(&admin, "POST", PATH, Some(body)).await.faults();
    let fault = |rule: &str, field: &str, message: &str| (rule.to_owned(), field.to_owned(), message.to_owned());
    let required = [
        fault("required", "buy", "The buy field is required"),
        fault("required", "sell", "The sell field is required"),
    ];
    for body in ["{}", r#"{"buy":null,"sell":""}"#, r#"{"buy":"  ","BUY":1}"#] {
        assert_eq!(faults(body).await, required, "{body}");
    }
    let digits = "1".repeat(41);
    for bad in [r#""NaN""#, "1e400", &digits, r#""1,5""#, r#""0x10""#, "true", "[1]", "{}", r#""1 2""#, r#""--1""#] {
        let number = |side: &str| fault("number", side, &format!("The {side} value must be a number"));
        assert_eq!(faults(&format!(r#"{{"buy":{bad},"sell":{bad}}}"#)).await, [number("buy"), number("sell")], "{bad}");
    }
    assert_eq!(faults(r#"{"buy":1,"sell":1,"buy":2}"#).await[0].0, "json");
    assert_eq!(faults("nonsense").await[0].0, "json");

    // More to the seller than the buyer pays, with no price known and at a price.
    let crossed = faults(r#"{"buy":1,"sell":2}"#).await;
    assert_eq!(
        crossed,
        [fault(
            "spread",
            "sell",
            "the customer's sell price would be above the buy price, if bid and ask were the same"
        )]
    );
    api.quote("BTC_USD", "10", "20", None);
    api.authed(&admin, "POST", PATH, Some(r#"{"buy":1,"sell":2}"#)).await.envelope(200, "Rates created");
    assert_eq!(
        faults(r#"{"buy":0,"sell":-10}"#).await[0].2,
        "at the current price of BTC_USD, the customer's sell price would not be above zero"
    );
    assert_eq!(faults(r#"{"buy":-20,"sell":-30}"#).await[0].1, "buy");
    assert_eq!(api.published_spreads().len(), 1);
}

#[tokio::test]
async fn without_compat_pairs_there_is_no_such_endpoint() {
    let compat = Compat { pairs: Vec::new(), ..Compat::default() };
    let api = Api::start_in(GROUPS, &env(BTreeMap::new(), compat)).await;
    let admin = api.admin().await;
    let answer = api.authed(&admin, "POST", PATH, Some(r#"{"buy":450,"sell":433}"#)).await;
    answer.envelope(404, "We couldn't find what you're looking for.");
}

#[tokio::test]
async fn all_compat_pairs_change_together_or_not_at_all() {
    let compat = Compat { pairs: vec![parse("ETH_USD"), parse("BTC_USD"), parse("ETH_USD")], ..Compat::default() };
    let api = Api::start_in(GROUPS, &env(BTreeMap::new(), compat)).await;
    let admin = api.admin().await;
    let send = async |body: &str| api.authed(&admin, "POST", PATH, Some(body)).await;
    api.quote("BTC_USD", "100", "100", None);
    api.quote("ETH_USD", "5", "5", None);
    assert_eq!(send(r#"{"buy":-6,"sell":-7}"#).await.faults()[0].1, "buy");
    let list = async || api.authed(&admin, "GET", "/v1/spreads", None).await.json()["spreads"].clone();
    assert_eq!((list().await, api.published_spreads().len()), (json!([]), 0));

    let one =
        api.authed(&admin, "PUT", "/v1/spreads/ETH_USD", Some(r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#)).await;
    assert_eq!(one.status, 201);
    send(r#"{"buy":2,"sell":-2}"#).await.envelope(200, "Rates updated");
    let revisions: Vec<Value> =
        list().await.as_array().unwrap().iter().map(|s| json!([s["scope"], s["revision"]])).collect();
    assert_eq!(revisions, [json!(["BTC_USD", 1]), json!(["ETH_USD", 2])]);
}
