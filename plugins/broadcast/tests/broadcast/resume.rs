//! Clients of a plain WebSocket that come back.

use std::collections::HashMap;

use serde_json::json;

use crate::{clients::Ws, quotes::quote, server::Server};

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    const PAIRS: [&str; 3] = ["BTC_USD", "ETH_USD", "BTC_EUR"];
    const LAST: u64 = 41;
    let server = Server::start_with(json!({}), PAIRS.map(|pair| quote(pair, 1))).await;
    let mut client = Ws::to(&server, "/v1/ws?pairs=*_USD").await;
    let snapshot = client.next().await;
    let mut position = snapshot["position"].as_str().unwrap().to_owned();
    let mut seen = HashMap::from(["BTC_USD", "ETH_USD"].map(|pair| (pair.to_owned(), 1)));
    assert_eq!(snapshot["quotes"].as_array().unwrap().len(), 2);
    for sequence in 2..=LAST {
        for pair in PAIRS {
            server.publish(quote(pair, sequence));
        }
        for _ in 0..sequence % 3 {
            let message = client.next().await;
            assert_eq!(message["type"], "quote", "{message}");
            message["position"].as_str().unwrap().clone_into(&mut position);
            let quote = &message["quote"];
            let sequence = quote["sequence"].as_u64().unwrap();
            let before = seen.insert(quote["pair"].as_str().unwrap().to_owned(), sequence);
            assert!(before.is_some_and(|before| before < sequence), "{message} after {before:?}");
        }
        if sequence % 4 == 0 {
            client = Ws::to(&server, &format!("/v1/ws?pairs=*_USD&since={position}")).await;
            assert_eq!(client.next().await, json!({ "type": "resumed" }));
        }
    }
    while seen.values().any(|&sequence| sequence < LAST) {
        let quote = client.quote().await;
        let sequence = quote["sequence"].as_u64().unwrap();
        let before = seen.insert(quote["pair"].as_str().unwrap().to_owned(), sequence);
        assert!(before.is_some_and(|before| before < sequence), "{quote} after {before:?}");
    }
}

#[tokio::test]
async fn who_shows_a_position_of_another_server_gets_a_snapshot() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (_, snapshot) = Ws::open(&server).await;
    let (board, _) = snapshot["position"].as_str().unwrap().split_once('-').unwrap();
    for unknown in ["", "7", "5f0c1d2e3b4a5968-1", &format!("{board}-1000")] {
        let mut client = Ws::to(&server, &format!("/v1/ws?since={unknown}")).await;
        assert_eq!(client.next().await["quotes"][0]["sequence"], 1, "{unknown}");
    }
    let position = snapshot["position"].as_str().unwrap();
    let mut client = Ws::to(&server, &format!("/v1/ws?pairs=BTC_USD,NO_PAIR&since={position}")).await;
    assert_eq!(client.next().await["type"], "resumed");
    assert_eq!(client.next().await["error"]["detail"], "Nobody serves NO_PAIR.");
    let answer = client.ask(json!({ "op": "ping" })).await;
    assert_eq!(answer["type"], "pong");
}
