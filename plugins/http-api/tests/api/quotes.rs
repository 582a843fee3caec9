use std::time::Duration;

use ratebus_sdk::model::{Adjustment, Rule, Sides};
use serde_json::json;

use crate::harness::{Api, parse};

fn absolute(buy: &str, sell: &str) -> Rule {
    Rule::from_adjustments(Sides { buy: Adjustment::absolute(parse(buy)), sell: Adjustment::absolute(parse(sell)) })
}

#[tokio::test]
async fn the_user_api_role_answers_as_the_original() {
    let api = Api::start(&["quotes"]).await;
    let root = api.get("/").await;
    assert_eq!((root.status, root.text.as_str()), (200, r#"{"service":"User Api"}"#));
    api.get("/nowhere").await.envelope(404, "We couldn't find what you're looking for.");
    assert_eq!(api.get("/rates").await.envelope(200, "Current rates"), json!({}));

    api.quote("BTC_USD", "20249", "20249", Some(absolute("450", "433")));
    api.quote("ETH_USD", "1.05", "1.10", None);
    api.quote_of_age("LTC_USD", "1", "2", Some(absolute("0", "0")), Duration::from_secs(61));
    let one = api.get("/rates/BTC_USD").await;
    let entry = one.text.split_once("\"data\":").unwrap().1;
    let numbers = r#"{"original":{"buy":20249,"sell":20249},"withSpread":{"buy":20699,"sell":20682},"currentSpread":{"buy":450,"sell":433},"status":"fresh","updatedAt":""#;
    assert!(entry.starts_with(numbers), "{entry}");
    one.envelope(200, "Current rate for BTC_USD");

    // A dead pair and one without a customer price are left out.
    let all = api.get("/rates").await;
    assert_eq!(
        all.text.split_once("\"data\":").unwrap().1,
        format!("{{\"BTC_USD\":{}}}", &entry[..entry.len() - 1]) + "}"
    );
    for pair in ["ETH_USD", "LTC_USD"] {
        api.get(&format!("/rates/{pair}")).await.envelope(503, &format!("No current rate for {pair}"));
    }
    api.get("/rates/NOPE").await.envelope(406, "Invalid pair!");
}

#[tokio::test]
async fn digits_are_kept() {
    let api = Api::start(&["quotes"]).await;
    api.quote(
        "BTC_USD",
        "12345678901234567.123456788",
        "12345678901234567.123456789",
        Some(absolute("0.000000001", "-0.000000001")),
    );
    let text = api.get("/rates/BTC_USD").await.text;
    assert!(
        text.contains(r#""withSpread":{"buy":12345678901234567.12345679,"sell":12345678901234567.123456787}"#),
        "{text}"
    );
}

#[tokio::test]
async fn quotes_under_v1() {
    let api = Api::start(&["quotes"]).await;
    api.quote("ETH_USD", "1.05", "1.10", None);
    api.quote("BTC_USD", "81413.2", "81413.3", Some(absolute("450.00", "-433.00")));
    api.quote_of_age("LTC_USD", "1", "2", Some(absolute("0", "0")), Duration::from_secs(61));
    let quote = api.get("/v1/rates/BTC_USD").await.json();
    assert_eq!(quote["original"], json!({ "buy": "81413.3", "sell": "81413.2" }));
    assert_eq!(quote["customer"], json!({ "buy": "81863.30", "sell": "80980.20" }));
    assert_eq!(quote["spread"], json!({ "buy": "450.00", "sell": "-433.00" }));
    assert_eq!(quote["rule"], json!({ "scope": "BTC_USD", "revision": 1 }));
    assert_eq!((&quote["withheld"], &quote["status"]), (&json!(null), &json!("fresh")));
    assert!(quote["ageMs"].is_u64() && quote["feedAgeMs"].is_u64() && quote["publishedTime"].is_string());

    let list = api.get("/v1/rates").await.json();
    let field =
        |name: &str| list["rates"].as_array().unwrap().iter().map(|rate| rate[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("pair"), ["BTC_USD", "ETH_USD", "LTC_USD"]);
    assert_eq!(field("withheld"), [json!(null), json!("no_spread"), json!(null)]);
    assert_eq!(field("status"), ["fresh", "fresh", "dead"]);
    assert_eq!(list["rates"][2]["customer"], json!(null));

    // No customer price is an answer; no price at all is none.
    assert_eq!(api.get("/v1/rates/ETH_USD").await.json()["customer"], json!(null));
    api.get("/v1/rates/LTC_USD").await.problem(503);
    api.get("/v1/rates/XXX_USD").await.problem(404);
    let pairs = api.get("/v1/pairs").await.json();
    assert_eq!(pairs["pairs"][0], json!({ "pair": "BTC_USD", "priceStep": "0.01", "status": "fresh", "sources": [] }));
}
