//! Entity tags of rates, and requests that wait for another one.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use ratebus_sdk::model::{Payload, Quote, Rate, Subject, Version};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::harness::{Answer, Api, DEADLINE, folder, parse, plain};

const PATHS: [&str; 2] = ["/v1/rates", "/v1/rates/BTC_USD"];

async fn api(max_waiting: usize) -> Arc<Api> {
    let api = Api::start_with(&["quotes"], &json!({ "max_waiting": max_waiting }), &plain(), &folder()).await;
    api.quote("BTC_USD", "99", "101", None);
    Arc::new(api)
}

/// Publishes the pair's quote again as another version, with this status of its own.
fn publish(api: &Api, pair: &str, sequence: u64, change: impl FnOnce(Quote) -> Quote) {
    let subject = Subject::quote(parse(pair));
    let last = api.ctx.last_value(&subject).unwrap();
    let Payload::Quote(quote) = &last.payload else { panic!("{last:?}") };
    let quote = Quote::clone(quote);
    let version = Version { sequence, ..quote.version };
    api.ctx.try_publish(&subject, change(Quote { version, ..quote })).unwrap();
}

async fn known(api: &Api, path: &str, tag: &str) -> Answer {
    api.call("GET", path, &[("if-none-match", tag)], Body::empty()).await
}

/// Asks in the background, having what there is now, and waits until it waits.
async fn waits(api: &Arc<Api>, path: &'static str) -> tokio::task::JoinHandle<Answer> {
    let tag = api.get(path.split('?').next().unwrap()).await.header("etag").to_owned();
    let asking = Arc::clone(api);
    let waiting = tokio::spawn(async move { known(&asking, path, &tag).await });
    // It runs up to where it waits: nothing before that takes time.
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    waiting
}

async fn answer(waiting: tokio::task::JoinHandle<Answer>) -> Answer {
    timeout(DEADLINE, waiting).await.expect("an answer in time").unwrap()
}

#[tokio::test]
async fn who_has_what_there_is_gets_304() {
    let api = api(9).await;
    for path in PATHS {
        let first = api.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{first:?}");
        for tags in [tag.as_str(), tag.trim_start_matches("W/"), &format!("\"x\", {tag}"), "*"] {
            let answer = known(&api, path, tags).await;
            assert_eq!((answer.status, answer.header("etag"), answer.text.as_str()), (304, &*tag, ""), "{tags}");
        }
        assert_eq!(known(&api, path, "\"x\"").await.status, 200);
    }
    let tags: Vec<_> = futures_util::future::join_all(PATHS.map(|path| api.get(path))).await;
    publish(&api, "BTC_USD", 2, |quote| quote);
    for (path, before) in PATHS.into_iter().zip(tags) {
        assert_eq!(known(&api, path, before.header("etag")).await.status, 200);
    }
    api.quote("ETH_USD", "1", "2", None);
    let tag = api.get("/v1/rates").await.header("etag").to_owned();
    api.quote_of_age("ETH_USD", "1", "2", None, Duration::from_secs(11));
    let stale = known(&api, "/v1/rates", &tag).await;
    assert_eq!(stale.json()["rates"][1]["status"], "stale");
}

#[tokio::test]
async fn a_change_answers_those_who_wait() {
    let api = api(9).await;
    api.quote("ETH_USD", "1", "2", None);
    let list = waits(&api, "/v1/rates?wait=60s").await;
    let [one, other] =
        [waits(&api, "/v1/rates/BTC_USD?wait=60s").await, waits(&api, "/v1/rates/ETH_USD?wait=60s").await];
    // What is only vouched for again is no change.
    publish(&api, "BTC_USD", 1, |quote| quote);
    publish(&api, "BTC_USD", 2, |quote| quote);
    assert_eq!(answer(list).await.json()["rates"][0]["sequence"], 2);
    assert_eq!(answer(one).await.json()["sequence"], 2);
    assert!(!other.is_finished());
    api.ctx.cancel_token().cancel();
    assert_eq!(answer(other).await.status, 304);
}

#[tokio::test]
async fn the_market_of_the_other_listener_is_waited_for_too() {
    let api = Arc::new(Api::start(&["rates"]).await);
    api.rate("kraken", "BTC_USD", "99", "101", Duration::ZERO);
    let waiting = [waits(&api, "/v1/rates?wait=60s").await, waits(&api, "/v1/rates/BTC_USD?wait=60s").await];
    let subject = Subject::rate(parse("kraken"), parse("BTC_USD"));
    let last = api.ctx.last_value(&subject).unwrap();
    let Payload::Rate(rate) = &last.payload else { panic!("{last:?}") };
    let version = Version { sequence: 2, ..rate.version };
    api.ctx.try_publish(&subject, Rate { version, ..Rate::clone(rate) }).unwrap();
    for waiting in waiting {
        assert!(answer(waiting).await.text.contains(r#""sequence":2"#));
    }
}

#[tokio::test(start_paused = true)]
async fn age_and_death_are_changes_though_nobody_tells_of_them() {
    let api = api(9).await;
    let confirm = |sequence| {
        let confirmed_at = api.ctx.clock().now();
        publish(&api, "BTC_USD", sequence, |quote| Quote { confirmed_at, ..quote });
    };
    confirm(2);
    let tag = api.get("/v1/rates/BTC_USD").await.header("etag").to_owned();
    let stale = known(&api, "/v1/rates/BTC_USD?wait=60s", &tag).await;
    assert_eq!((&stale.json()["status"], &stale.json()["sequence"]), (&json!("stale"), &json!(2)));
    known(&api, "/v1/rates/BTC_USD?wait=60s", stale.header("etag")).await.problem(503);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_changes_the_answer_is_304_in_the_end() {
    let api = api(9).await;
    let before = Instant::now();
    let waiting = waits(&api, "/v1/rates?wait=5s").await;
    assert_eq!(waiting.await.unwrap().status, 304);
    assert_eq!(before.elapsed().as_secs(), 5);
    // Who has something else does not wait, nor who has said nothing.
    assert_eq!(known(&api, "/v1/rates?wait=5s", "\"x\"").await.status, 200);
    assert_eq!(known(&api, "/v1/rates?wait=5s", "*").await.status, 304);
    assert_eq!(api.get("/v1/rates?wait=5s").await.status, 200);
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let api = api(1).await;
    let first = waits(&api, "/v1/rates?wait=60s").await;
    let tag = api.get("/v1/rates").await.header("etag").to_owned();
    let refused = known(&api, "/v1/rates?wait=60s", &tag).await;
    refused.problem(503);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(known(&api, "/v1/rates", &tag).await.status, 304);
    // Who goes away gives the place back.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = waits(&api, "/v1/rates?wait=60s").await;
    publish(&api, "BTC_USD", 2, |quote| quote);
    assert_eq!(answer(second).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused_by_name() {
    let api = api(9).await;
    for path in PATHS {
        for wait in ["", "20", "0s", "05s", "%2B5s", "1.5s", "1000ms", "61s", "1m", "99999999999999999999s", "soon"] {
            let refused = api.get(&format!("{path}?wait={wait}")).await;
            refused.problem(422);
            assert_eq!(refused.json()["errors"][0]["field"], "wait");
        }
    }
}
