use std::{collections::BTreeMap, time::Duration};

use ratebus_sdk::{Compat, PairSettings, model::PairState};
use serde_json::json;

use crate::harness::{Api, env, parse};

const NOW: Duration = Duration::ZERO;

#[tokio::test]
async fn the_exchange_rate_role_answers_as_the_original() {
    let api = Api::start(&["rates", "health"]).await;
    let hello = api.get("/").await;
    assert_eq!((hello.status, hello.text.as_str()), (200, r#"{"hello":"world"}"#));

    api.rate("kraken", "BTC_USD", "20248.90000", "20249.00000", NOW);
    let rate = api.get("/rates/BTC_USD").await;
    assert_eq!(
        rate.text,
        r#"{"state":"success","statusCode":200,"message":"Current rate for BTC_USD","data":{"pair":"BTC_USD","rate":"20249.00000"}}"#
    );
    assert_eq!(rate.status, 200);
    for spelling in ["BTC%2FUSD", "btc-usd", "XBT_USD"] {
        assert_eq!(api.get(&format!("/rates/{spelling}")).await.text, rate.text);
    }

    let nope = api.get("/rates/NOPE").await;
    assert_eq!(
        (nope.status, nope.text.as_str()),
        (406, r#"{"state":"failed","statusCode":406,"message":"Invalid pair!"}"#)
    );
    for strange in ["ETH_USD", "%00", "%FF", "..%2F..", "*", "BTC_USD%0d%0a", "%E2%80%AEBTC_USD"] {
        api.get(&format!("/rates/{strange}")).await.envelope(406, "Invalid pair!");
    }
    api.get(&format!("/rates/{}", "A".repeat(10_000))).await.envelope(406, "Invalid pair!");
    api.get("/nowhere").await.envelope(404, "We couldn't find what you're looking for.");
    let put = api.call("PUT", "/rates/BTC_USD", &[], "").await;
    put.envelope(405, "Method not allowed");
    assert_eq!(put.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_known_pair_without_a_live_rate_is_unavailable() {
    let api = Api::start(&["rates"]).await;
    api.pairs("kraken", &[("ETH_USD", PairState::Pending), ("BTC_USD", PairState::Subscribed)]);
    api.rate("kraken", "BTC_USD", "1", "2", Duration::from_secs(61));
    for pair in ["ETH_USD", "BTC_USD"] {
        let answer = api.get(&format!("/rates/{pair}")).await;
        answer.envelope(503, &format!("No current rate for {pair}"));
        assert_eq!(answer.header("retry-after"), "1");
        let answer = api.get(&format!("/v1/rates/{pair}")).await;
        assert_eq!(answer.problem(503), format!("there is no current rate of {pair}"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(api.get("/v1/rates/LTC_USD").await.problem(404), "no source serves this pair");
}

#[tokio::test]
async fn a_dead_rate_that_its_source_lists_no_more_is_none() {
    let api = Api::start(&["rates"]).await;
    for (pair, seconds) in [("BTC_USD", 61), ("ETH_USD", 0)] {
        api.rate("kraken", pair, "1", "2", Duration::from_secs(seconds));
    }
    let listed = async || api.get("/v1/rates").await.json()["rates"].as_array().unwrap().len();
    assert_eq!(listed().await, 2, "who knows what the source serves");
    api.pairs("kraken", &[]);
    assert_eq!(listed().await, 1);
    api.get("/v1/rates/BTC_USD").await.problem(404);
    assert_eq!(api.get("/v1/rates/ETH_USD").await.status, 200);
}

#[tokio::test]
async fn raw_rates_under_v1() {
    let api = Api::start(&["rates"]).await;
    api.rate("kraken", "ETH_USD", "1999.10", "2000.00", Duration::from_secs(61));
    api.rate("kraken", "BTC_USD", "20248.9", "20249.00", Duration::from_secs(11));
    let list = api.get("/v1/rates").await;
    let rates = list.json()["rates"].as_array().unwrap().clone();
    assert_eq!(rates.iter().map(|rate| rate["pair"].clone()).collect::<Vec<_>>(), ["BTC_USD", "ETH_USD"]);
    assert_eq!(rates[1]["status"], "dead");
    assert_eq!(rates[1]["original"], json!(null));

    let mut rate = api.get("/v1/rates/BTC_USD").await.json();
    let rate = rate.as_object_mut().unwrap();
    assert!(rate.remove("feedAgeMs").unwrap().as_u64().unwrap() >= 11_000);
    assert!(rate.remove("ageMs").unwrap().is_u64());
    assert!(rate.remove("receivedTime").unwrap().is_string());
    let expected = json!({
        "pair": "BTC_USD", "source": "kraken", "kind": "two_sided", "status": "stale", "market": "online",
        "original": { "buy": "20249.00", "sell": "20248.9" },
        "epoch": "0000000000000007", "sequence": 1, "eventTime": "2026-09-19T18:57:46.849909Z",
    });
    assert_eq!(json!(rate), expected);
    let post = api.call("POST", "/v1/rates", &[], "").await;
    assert_eq!(post.status, 405);
    assert_eq!(post.header("allow"), "GET,HEAD");
    assert_eq!(api.get("/v1/nowhere").await.problem(404), "there is nothing at this path");
}

#[tokio::test]
async fn the_best_of_several_sources_is_taken() {
    let preferring = |names: &[&str]| PairSettings {
        sources: names.iter().copied().map(parse).collect(),
        ..PairSettings::default()
    };
    let pairs =
        BTreeMap::from([(parse("BTC_USD"), preferring(&["okx", "kraken"])), (parse("LTC_USD"), preferring(&["okx"]))]);
    let api = Api::start_in(&["rates"], &env(pairs, Compat::default())).await;
    let rate = async |pair: &str| api.get(&format!("/rates/{pair}")).await.json()["data"]["rate"].clone();

    // Without a preference: the freshest, then the first by name.
    api.rate("kraken", "ETH_USD", "1", "11", NOW);
    api.rate("binance", "ETH_USD", "1", "12", NOW);
    assert_eq!(rate("ETH_USD").await, "12");
    api.rate("binance", "ETH_USD", "1", "12", Duration::from_secs(11));
    assert_eq!(rate("ETH_USD").await, "11");

    // With one: its order among equally fresh ones, and nobody else.
    api.rate("binance", "BTC_USD", "1", "20", NOW);
    api.rate("kraken", "BTC_USD", "1", "21", NOW);
    assert_eq!(rate("BTC_USD").await, "21");
    api.rate("okx", "BTC_USD", "1", "22", NOW);
    assert_eq!(rate("BTC_USD").await, "22");
    api.rate("okx", "BTC_USD", "1", "22", Duration::from_secs(11));
    assert_eq!(rate("BTC_USD").await, "21");

    api.rate("kraken", "LTC_USD", "1", "2", NOW);
    api.get("/rates/LTC_USD").await.envelope(503, "No current rate for LTC_USD");
}

#[tokio::test]
async fn pairs_with_their_sources() {
    let step = PairSettings { price_step: Some(parse("0.5")), ..PairSettings::default() };
    let env = env(BTreeMap::from([(parse("BTC_USD"), step)]), Compat::default());
    let api = Api::start_in(&["rates"], &env).await;
    api.pairs("okx", &[("BTC_USD", PairState::Refused("no such market".to_owned()))]);
    api.pairs("kraken", &[("BTC_USD", PairState::Subscribed), ("ETH_USD", PairState::Pending)]);
    api.rate("kraken", "BTC_USD", "1", "2", NOW);
    api.rate("replay", "LTC_USD", "1", "2", NOW);
    let expected = json!({ "pairs": [
        { "pair": "BTC_USD", "priceStep": "0.5", "status": "fresh", "sources": [
            { "source": "kraken", "state": "subscribed" },
            { "source": "okx", "state": "refused", "reason": "no such market" } ] },
        { "pair": "ETH_USD", "priceStep": null, "status": null, "sources": [{ "source": "kraken", "state": "pending" }] },
        { "pair": "LTC_USD", "priceStep": null, "status": "fresh", "sources": [] },
    ] });
    assert_eq!(api.get("/v1/pairs").await.json(), expected);
}

#[tokio::test]
async fn health_is_the_originals_report() {
    let api = Api::start(&["rates", "health"]).await;
    let healthy = api.get("/health").await;
    let check = |name: &str, healthy: bool, word: &str| json!({ "displayName": name, "health": { "healthy": healthy, "message": word }, "meta": [] });
    assert_eq!(healthy.status, 200);
    assert_eq!(healthy.json(), json!({ "healthy": true, "report": { "api": check("api", true, "ready") } }));

    let other = api.host.context("kraken");
    other.health().not_ready("cannot reach host 10.0.0.7");
    let unhealthy = api.get("/health").await;
    assert_eq!(unhealthy.status, 400);
    let report = json!({ "api": check("api", true, "ready"), "kraken": check("kraken", false, "not_ready") });
    assert_eq!(unhealthy.json(), json!({ "healthy": false, "report": report }));
}
