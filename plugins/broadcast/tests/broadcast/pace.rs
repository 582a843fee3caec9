//! How often clients are sent quotes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clients::{Sio, Sse, Ws, http},
    quotes::quote,
    server::Server,
};

/// Reads quotes until `pair` has this sequence, and returns how many of that pair there were.
async fn count_until(client: &mut Ws, pair: &str, sequence: u64) -> u64 {
    let mut count = 0;
    loop {
        let quote = client.quote().await;
        count += u64::from(quote["pair"] == pair);
        if quote["pair"] == pair && quote["sequence"] == sequence {
            return count;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_sent_quotes_only_so_often() {
    for (settings, query) in [(json!({}), "?max_rate=2"), (json!({ "max_rate": 2 }), "?max_rate=1000")] {
        let server = Server::start_with(settings, [quote("BTC_USD", 1)]).await;
        let mut client = Ws::to(&server, &format!("/v1/ws{query}")).await;
        assert_eq!(client.next().await["type"], "snapshot");
        server.publish(quote("BTC_USD", 2));
        assert_eq!(client.quote().await["sequence"], 2);
        let before = tokio::time::Instant::now();
        for sequence in 3..=5 {
            server.publish(quote("BTC_USD", sequence));
        }
        assert_eq!(count_until(&mut client, "BTC_USD", 5).await, 1);
        assert!(before.elapsed() > Duration::from_millis(400), "{:?}", before.elapsed());
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

/// Streams and sockets go by the limit of the config, too.
#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_every_transport() {
    let server = Server::start_with(json!({ "max_rate": 2 }), [quote("BTC_USD", 1)]).await;
    let (mut stream, _) = Sse::open(&server).await;
    let (mut socket, _) = Sio::open(&server).await;
    server.publish(quote("BTC_USD", 2));
    assert_eq!(stream.quote().await["sequence"], 2);
    let before = tokio::time::Instant::now();
    for sequence in 3..=5 {
        server.publish(quote("BTC_USD", sequence));
    }
    let (last, updated) = (quote("BTC_USD", 6), |map: &Value| map["BTC_USD"]["updatedAt"].as_str().unwrap().to_owned());
    let expected = last.published_time.to_string();
    server.publish(last);
    assert_eq!(stream.quote().await["sequence"], 6);
    let mut maps = 1;
    while updated(&socket.map().await) != expected {
        maps += 1;
    }
    assert!(maps <= 2, "{maps} maps");
    assert!(before.elapsed() > Duration::from_millis(400), "{:?}", before.elapsed());
}
