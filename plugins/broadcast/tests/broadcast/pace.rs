//! How often clients are sent quotes.

use std::time::{Duration, Instant};

use ratebus_broadcast::Broadcast;
use ratebus_sdk::{Factory, testkit};
use serde_json::{Value, json};

use crate::{
    clients::{Sio, Sse, Ws, http},
    quotes::quote,
    server::Server,
};

const INTERVAL: Duration = Duration::from_millis(100);
const QUOTES: u64 = 5;

/// Publishes some quotes, each as soon as `next` has the one before: the first is not delayed, the others are.
async fn in_step(server: &Server, mut next: impl AsyncFnMut() -> Value) {
    let start = Instant::now();
    for sequence in 2..2 + QUOTES {
        let changed = quote("BTC_USD", sequence);
        let published = json!(changed.published_time);
        server.publish(changed);
        assert_eq!(next().await, published);
    }
    let least = INTERVAL * u32::try_from(QUOTES - 1).unwrap();
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_is_sent_quotes_only_so_often() {
    for (settings, query) in [(json!({}), "?max_rate=10"), (json!({ "max_rate": 10 }), "?max_rate=1000")] {
        let server = Server::start_with(settings, [quote("BTC_USD", 1)]).await;
        let mut client = Ws::to(&server, &format!("/v1/ws{query}")).await;
        assert_eq!(client.next().await["type"], "snapshot");
        in_step(&server, async || client.quote().await["publishedTime"].take()).await;
    }
}

#[tokio::test]
async fn the_limit_holds_for_every_transport() {
    let settings = || json!({ "max_rate": 10 });
    let server = Server::start_with(settings(), [quote("BTC_USD", 1)]).await;
    let (mut stream, _) = Sse::open(&server).await;
    in_step(&server, async || stream.quote().await["publishedTime"].take()).await;
    for rates in ["", "&rates=changes"] {
        let server = Server::start_with(settings(), [quote("BTC_USD", 1)]).await;
        let (mut socket, _) = Sio::open_with(&server, rates).await;
        in_step(&server, async || socket.map().await["BTC_USD"]["updatedAt"].take()).await;
    }
}

#[tokio::test]
async fn how_often_can_be_changed() {
    let server = Server::start_with(json!({ "max_rate": 500 }), [quote("BTC_USD", 1)]).await;
    let mut client = Ws::to(&server, "/v1/ws?max_rate=1").await;
    assert_eq!(client.next().await["type"], "snapshot");
    for (asked, holds) in [(7, 7), (1000, 500), (0, 500)] {
        let answer = client.ask(json!({ "op": "limit", "max_rate": asked, "id": 1 })).await;
        assert_eq!(answer, json!({ "type": "limited", "max_rate": holds, "id": 1 }));
    }
    let error = client.ask(json!({ "op": "limit", "max_rate": 1001, "id": 2 })).await;
    let detail = "max_rate: a whole number from 0 to 1000 was expected";
    assert_eq!((&error["id"], &error["error"]["detail"]), (&json!(2), &json!(detail)));
    for max_rate in ["1001", "-1", "x", "1.5"] {
        let answer = http(&server, &format!("GET /v1/rates/stream?max_rate={max_rate}"), "").await;
        assert_eq!(answer.status, 422, "{max_rate}");
        assert!(answer.body.contains(detail), "{answer:?}");
    }
    server.publish(quote("BTC_USD", 2));
    assert_eq!(client.quote().await["sequence"], 2);
}

#[test]
fn a_limit_that_is_none_is_named_with_its_key() {
    let config = serde_json::from_value(json!({ "listener": "web", "max_rate": 1001 })).unwrap();
    let error = Broadcast::build(config, &testkit::env("broadcast", &["web"])).unwrap_err().to_string();
    assert!(error.contains("max_rate: must be 0 to 1000"), "{error}");
}
