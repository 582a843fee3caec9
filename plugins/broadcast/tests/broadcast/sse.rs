use std::time::Duration;

use serde_json::json;

use crate::{
    clients::{Sse, http},
    quotes::{pairs, quote},
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
    for sequence in 18..28 {
        server.publish(quote("BTC_USD", sequence));
        let (id, quote) = client.event("quote").await;
        assert_eq!(id, format!("5f0c1d2e3b4a5968-{sequence}"));
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
    let mut client = Sse::to(&server, "/v1/rates/stream?pairs=eth-usd,BTC_USD").await;
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
    assert_eq!(before.elapsed().as_secs(), Duration::from_secs(15).as_secs());
}
