use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    clients::{Sse, http},
    quotes::{dead, pairs, quote},
    server::Server,
};

#[tokio::test]
async fn a_snapshot_comes_first_and_then_every_change() {
    let server = Server::start_with(json!({}), [quote("ETH_USD", 3), quote("BTC_USD", 17)]).await;
    let mut client = Sse::to(&server, "/v1/rates/stream").await;
    for header in ["200 ok", "content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(client.head.contains(header), "{header} in {}", client.head);
    }
    let (_, snapshot) = client.event("snapshot").await;
    assert_eq!((&snapshot["quotes"][0]["sequence"], &snapshot["quotes"][1]["sequence"]), (&json!(17), &json!(3)));
    let mut ids = BTreeSet::new();
    for sequence in 18..28 {
        server.publish(quote("BTC_USD", sequence));
        let (id, quote) = client.event("quote").await;
        assert!(ids.insert(id));
        assert_eq!((&quote["pair"], &quote["sequence"]), (&json!("BTC_USD"), &json!(sequence)));
    }
    drop(client);
    server.wait_for_metric("ratebus_clients{transport=\"sse\"}", 0).await;
}

#[tokio::test]
async fn only_the_pairs_asked_for_are_sent() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    server.serve_pairs(pairs(&["BTC_USD", "ETH_USD", "SOL_USD"]));
    server.publish(quote("SOL_USD", 1));
    server.wait_for_metric("ratebus_encodes_total{encoding=\"quote\"}", 2).await;
    let mut client = Sse::to(&server, "/v1/rates/stream?pairs=eth-usd,BTC_*").await;
    let (_, snapshot) = client.event("snapshot").await;
    assert_eq!(snapshot["quotes"].as_array().unwrap().len(), 1);
    server.publish(quote("SOL_USD", 2));
    server.publish(quote("ETH_USD", 1));
    assert_eq!(client.quote().await["pair"], "ETH_USD");
}

#[tokio::test]
async fn unknown_pairs_are_a_problem_document() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let answer = http(&server, "GET /v1/rates/stream?pairs=BTC_USD,NO_PAIR", "").await;
    assert_eq!(answer.status, 404);
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    assert!(answer.body.contains(r#""detail":"Nobody serves NO_PAIR.""#), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_comment_keeps_an_idle_stream_alive() {
    let server = Server::start().await;
    let mut client = Sse::to(&server, "/v1/rates/stream").await;
    client.event("snapshot").await;
    let before = tokio::time::Instant::now();
    // The deadline of one read is shorter than the silence.
    while client.try_block().await.is_none() {}
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
}

/// Connects again, having had this event last.
async fn again(server: &Server, path: &str, id: &str) -> Sse {
    Sse::with(server, path, &format!("Last-Event-ID: {id}\r\n")).await
}

#[tokio::test]
async fn who_comes_back_gets_what_has_changed_since() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 1), quote("SOL_USD", 1)]).await;
    let mut client = Sse::to(&server, "/v1/rates/stream").await;
    let (of_snapshot, _) = client.event("snapshot").await;
    server.publish(quote("BTC_USD", 2));
    let (of_quote, _) = client.event("quote").await;
    drop(client);
    for changed in [quote("ETH_USD", 2), quote("ETH_USD", 3), dead("SOL_USD", 2)] {
        server.publish(changed);
    }
    server.wait_for_metric("ratebus_encodes_total{encoding=\"quote\"}", 7).await;

    let told = async |path: &str, id: &str, count: usize| {
        let mut client = again(&server, path, id).await;
        let mut told = BTreeSet::new();
        for _ in 0..count {
            let quote = client.quote().await;
            told.insert(format!("{} {}", quote["pair"].as_str().unwrap(), quote["sequence"]));
        }
        told.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(told("/v1/rates/stream", &of_quote, 2).await, ["ETH_USD 3", "SOL_USD 2"]);
    assert_eq!(told("/v1/rates/stream", &of_snapshot, 3).await, ["BTC_USD 2", "ETH_USD 3", "SOL_USD 2"]);
    assert_eq!(told("/v1/rates/stream?pairs=BTC_USD,SOL_USD", &of_quote, 1).await, ["SOL_USD 2"]);
}

#[tokio::test]
async fn who_has_missed_nothing_is_sent_nothing_until_something_changes() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let mut client = Sse::to(&server, "/v1/rates/stream").await;
    let (id, _) = client.event("snapshot").await;
    let mut client = again(&server, "/v1/rates/stream", &id).await;
    server.publish(quote("BTC_USD", 2));
    assert_eq!(client.quote().await["sequence"], 2);
}

#[tokio::test]
async fn who_shows_what_this_server_never_sent_gets_a_snapshot() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (id, _) = Sse::to(&server, "/v1/rates/stream").await.event("snapshot").await;
    let (board, stamp) = id.split_once('-').unwrap();
    let later = format!("{board}-{}", stamp.parse::<u64>().unwrap() + 1);
    for unknown in ["", "7", "5f0c1d2e3b4a5968-1", "\u{e9}", &later] {
        again(&server, "/v1/rates/stream", unknown).await.event("snapshot").await;
    }
}

#[tokio::test]
async fn a_long_snapshot_comes_in_parts_each_of_which_can_be_the_last() {
    let name = |index| format!("A{index}_USD");
    let server = Server::start_with(json!({}), (0..150).map(|index| quote(&name(index), 1))).await;
    let mut client = Sse::to(&server, "/v1/rates/stream").await;
    let mut told = BTreeSet::new();
    let mut tell = |quote: &Value| assert!(told.insert(quote["pair"].as_str().unwrap().to_owned()), "{quote}");
    let (id, part) = client.event("snapshot").await;
    part["quotes"].as_array().unwrap().iter().for_each(&mut tell);
    let mut client = again(&server, "/v1/rates/stream", &id).await;
    for _ in 64..150 {
        tell(&client.quote().await);
    }
    let (mut client, mut count) = (Sse::to(&server, "/v1/rates/stream").await, 0);
    while count < 150 {
        count += client.event("snapshot").await.1["quotes"].as_array().unwrap().len();
    }
    assert_eq!((told.len(), count), (150, 150));
}
