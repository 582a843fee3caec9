use std::time::Duration;

use ratebus_sdk::{
    Interest, Policy,
    model::{Adjustment, Pattern, Payload, Quote, Rule, Sides, Subject},
};
use serde_json::json;

use crate::harness::{Api, parse};

/// Answers every request for an explanation with this text.
fn explain(api: &Api, answer: &'static str) {
    let questions = Interest { policy: Policy::DropNewest, replay: false, ..Interest::latest(Pattern::explanations()) };
    let (mut inbox, ctx) = (api.host.inbox(&[questions]), api.ctx.clone());
    tokio::spawn(async move {
        while let Some(request) = inbox.recv().await {
            ctx.respond(&request, Payload::Bytes(answer.into())).await.unwrap();
        }
    });
}

const EXPLANATION: &str = r#"{"pair":"BTC_USD","time":"2026-09-19T18:57:46.901377Z","method":"median",
    "sources":[{"source":"acme","used":false,"verdict":"crossed","rate":null},
        {"source":"kraken","used":true,"verdict":"used","rate":{"kind":"two_sided","status":"fresh","market":"online",
            "original":{"buy":"101","sell":"99"},"receivedTime":"2026-09-19T18:57:46.901377Z","feedAgeMs":12}}],
    "legs":[{"pair":"EUR_USD","divides":true,"original":null,"withheld":"no_quorum"}],
    "status":"fresh","original":{"buy":"101","sell":"99"},
    "rule":{"scope":null,"revision":0,"buy":{"unit":"bps","value":"25"},"sell":{"unit":"absolute","value":"1"}},
    "priceStep":"0.01",
    "steps":[{"operation":"spread","buy":{"inputs":["101","25"],"result":"101.2525"},"sell":{"inputs":["99","-1"],"result":"98"}}],
    "customer":{"buy":"101.26","sell":"98.00"},"withheld":null}"#;

#[tokio::test]
async fn a_quote_can_be_explained() {
    let api = Api::start(&["quotes", "docs"]).await;
    api.quote("BTC_USD", "99", "101", None);
    api.get("/v1/rates/BTC_USD?explain=true").await.problem(503);
    api.get("/v1/rates/BTC_USD?explain=yes").await.problem(422);
    api.get("/v1/rates/BTC_USD?explian=true").await.problem(422);
    api.get("/v1/rates/XXX_USD?explain=true").await.problem(404);
    explain(&api, EXPLANATION);
    let explanation = api.get("/v1/rates/BTC_USD?explain=true").await.json();
    assert_eq!(explanation, serde_json::from_str::<serde_json::Value>(EXPLANATION).unwrap());
    let quote = api.get("/v1/rates/BTC_USD?explain=false").await.json();
    assert_eq!(quote["sources"], json!(["kraken"]));
    let document = api.get("/openapi.json").await.json();
    for (answer, schema) in [(&explanation, "Explanation"), (&quote, "Quote"), (&explanation, "QuoteOrExplanation")] {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}"), "components": document["components"] });
        let errors: Vec<String> =
            jsonschema::draft202012::new(&schema).unwrap().iter_errors(answer).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[tokio::test]
async fn an_answer_that_explains_nothing_is_none() {
    for answer in ["null", "{}", "no JSON"] {
        let api = Api::start(&["quotes"]).await;
        api.quote("BTC_USD", "99", "101", None);
        explain(&api, answer);
        api.get("/v1/rates/BTC_USD?explain=true").await.problem(503);
    }
}

/// A median is nobody's: those it is made from list its pair, or do no more.
#[tokio::test]
async fn a_dead_median_that_its_sources_list_no_more_is_none() {
    let api = Api::start(&["quotes"]).await;
    let of_two = |pair: &str, age| {
        api.quote_of_age(pair, "1", "2", None, age);
        let subject = Subject::quote(parse(pair));
        let last = api.ctx.last_value(&subject).unwrap();
        let Payload::Quote(quote) = &last.payload else { panic!("{last:?}") };
        let sources = ["acme", "kraken"].map(parse).into();
        api.ctx.try_publish(&subject, Quote { source: parse("median"), sources, ..Quote::clone(quote) }).unwrap();
    };
    of_two("BTC_USD", Duration::from_secs(61));
    of_two("ETH_USD", Duration::ZERO);
    api.pairs("acme", &[]);
    api.get("/v1/rates/BTC_USD").await.problem(503);
    api.pairs("kraken", &[]);
    api.get("/v1/rates/BTC_USD").await.problem(404);
    assert_eq!(api.get("/v1/rates").await.json()["rates"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/rates/ETH_USD").await.status, 200);
}

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
