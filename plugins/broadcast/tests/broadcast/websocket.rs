use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    clients::{Ws, connect, http},
    quotes::{at_known_times, dead, pairs, quote, withheld},
    server::{DEADLINE, Server},
};

#[tokio::test]
async fn a_snapshot_comes_first_and_then_every_change() {
    let server = Server::start_with(json!({}), [at_known_times("ETH_USD", 3), at_known_times("BTC_USD", 17)]).await;
    let (mut client, snapshot) = Ws::open(&server).await;
    let expected = json!({
        "pair": "BTC_USD", "source": "kraken", "sources": ["kraken"], "kind": "two_sided", "status": "fresh", "market": "online",
        "original": { "buy": "101.00", "sell": "100.00" },
        "customer": { "buy": "102.00", "sell": "99.00" },
        "spread": { "buy": "1.00", "sell": "-1.00" },
        "rule": { "scope": null, "revision": 0 }, "withheld": null,
        "epoch": "5f0c1d2e3b4a5968", "sequence": 17,
        "eventTime": "2026-09-19T18:57:46.849909Z",
        "receivedTime": "2026-09-19T18:57:46.901220Z",
        "publishedTime": "2026-09-19T18:57:46.901377Z",
    });
    assert_eq!(snapshot["quotes"][0], expected);
    assert_eq!(snapshot["quotes"][1]["pair"], "ETH_USD");
    assert_eq!(snapshot["quotes"].as_array().unwrap().len(), 2);

    for sequence in 18..28 {
        server.publish(quote("BTC_USD", sequence));
        let quote = client.quote().await;
        assert_eq!((&quote["pair"], &quote["sequence"]), (&json!("BTC_USD"), &json!(sequence)));
    }
}

#[tokio::test]
async fn what_is_not_newer_is_not_sent() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 5)]).await;
    let (mut client, _) = Ws::open(&server).await;
    // Vouched for again, older, and a run of the publisher that has been left.
    server.publish(quote("BTC_USD", 5));
    server.publish(quote("BTC_USD", 4));
    let mut next_run = quote("BTC_USD", 1);
    next_run.version.epoch = ratebus_model::Epoch::new(1);
    server.publish(next_run.clone());
    assert_eq!(client.quote().await["epoch"], "0000000000000001");
    server.publish(quote("BTC_USD", 6));
    next_run.version = next_run.version.next();
    server.publish(next_run);
    assert_eq!(client.quote().await["sequence"], 2);
    assert_eq!(server.metric("ratebus_quotes_refused_total"), 2);
}

#[tokio::test]
async fn a_dead_pair_is_sent_without_prices() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut client, _) = Ws::open(&server).await;
    server.publish(dead("BTC_USD", 2));
    let quote = client.quote().await;
    assert_eq!(quote["status"], "dead");
    for field in ["original", "customer", "spread"] {
        assert_eq!(quote[field], Value::Null, "{quote}");
    }
    server.publish(withheld("BTC_USD", 3));
    let quote = client.quote().await;
    assert_eq!((&quote["customer"], &quote["withheld"]), (&Value::Null, &json!("no_spread")));
    assert_eq!(quote["original"]["buy"], "101.00");
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 1)]).await;
    server.serve_pairs(pairs(&["BTC_USD", "SOL_USD"]));
    let mut client = Ws::to(&server, "/v1/ws?pairs=").await;
    let snapshot = client.next().await;
    assert_eq!((&snapshot["type"], &snapshot["quotes"]), (&json!("snapshot"), &json!([])));

    let answer = client.ask(json!({ "op": "subscribe", "pairs": ["xbt/usd", "SOL_USD"], "id": 7 })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": ["BTC_USD", "SOL_USD"], "id": 7 }));
    let snapshot = client.next().await;
    assert_eq!(snapshot["quotes"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["quotes"][0]["pair"], "BTC_USD");

    server.publish(quote("ETH_USD", 2));
    server.publish(quote("SOL_USD", 1));
    assert_eq!(client.quote().await["pair"], "SOL_USD");

    // Nothing new, so no snapshot.
    let answer = client.ask(json!({ "op": "subscribe", "pairs": ["BTC_USD"], "id": "b" })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": ["BTC_USD", "SOL_USD"], "id": "b" }));
    let answer = client.ask(json!({ "op": "unsubscribe", "pairs": ["BTC_USD", "ETH_USD"] })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": ["SOL_USD"] }));
    server.publish(quote("BTC_USD", 2));
    server.publish(quote("SOL_USD", 2));
    assert_eq!(client.quote().await["pair"], "SOL_USD");
}

#[tokio::test]
async fn who_has_every_pair_can_leave_some() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 1)]).await;
    let (mut client, _) = Ws::open(&server).await;
    let answer = client.ask(json!({ "op": "subscribe", "pairs": ["BTC_USD"], "id": 1 })).await;
    assert_eq!(answer["pairs"], json!(["BTC_USD", "ETH_USD"]));
    let answer = client.ask(json!({ "op": "unsubscribe", "pairs": ["BTC_USD"], "id": 2 })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": ["ETH_USD"], "id": 2 }));
    server.publish(quote("BTC_USD", 2));
    server.publish(quote("ETH_USD", 2));
    assert_eq!(client.quote().await["pair"], "ETH_USD");
}

#[tokio::test]
async fn unknown_pairs_are_named_and_the_others_added() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let mut client = Ws::to(&server, "/v1/ws?pairs=BTC_USD,NO_PAIR").await;
    assert_eq!(client.next().await["quotes"][0]["pair"], "BTC_USD");
    let error = client.next().await;
    assert_eq!(error["type"], "error");
    assert_eq!(
        error["error"],
        json!({ "type": "about:blank", "title": "Not Found", "status": 404, "detail": "Nobody serves NO_PAIR." })
    );

    server.publish(quote("ETH_USD", 1));
    server.wait_for_metric("ratebus_encodes_total{encoding=\"quote\"}", 2).await;
    let error = client.ask(json!({ "op": "subscribe", "pairs": ["ETH_USD", "EUR_XXX", "nonsense"], "id": 3 })).await;
    assert_eq!((&error["type"], &error["id"], &error["error"]["status"]), (&json!("error"), &json!(3), &json!(404)));
    assert_eq!(error["error"]["detail"], "Nobody serves EUR_XXX, nonsense.");
    assert_eq!(client.next().await["pairs"], json!(["BTC_USD", "ETH_USD"]));
    assert_eq!(client.next().await["type"], "snapshot");
}

#[tokio::test]
async fn patterns_take_pairs_that_come_later_too() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 1), quote("ETH_EUR", 1)]).await;
    let mut client = Ws::to(&server, "/v1/ws?pairs=xbt-*,ETH_USD").await;
    let snapshot = client.next().await;
    let pairs: Vec<_> = snapshot["quotes"].as_array().unwrap().iter().map(|quote| &quote["pair"]).collect();
    assert_eq!(pairs, ["BTC_USD", "ETH_USD"]);
    server.publish(quote("ETH_EUR", 2));
    server.publish(quote("BTC_EUR", 1));
    assert_eq!(client.quote().await["pair"], "BTC_EUR");

    let answer = client.ask(json!({ "op": "subscribe", "pairs": ["*_EUR", "ETH_USD"], "id": 1 })).await;
    let (pairs, patterns) = (json!(["BTC_EUR", "BTC_USD", "ETH_EUR", "ETH_USD"]), json!(["*_EUR", "BTC_*"]));
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": pairs, "patterns": patterns, "id": 1 }));
    let snapshot = client.next().await;
    assert_eq!((snapshot["quotes"].as_array().unwrap().len(), &snapshot["quotes"][0]["pair"]), (1, &json!("ETH_EUR")));

    // What is left of a pattern are the pairs that are known.
    let answer = client.ask(json!({ "op": "unsubscribe", "pairs": ["BTC_USD", "*_EUR"] })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "pairs": ["ETH_USD"] }));
    let answer = client.ask(json!({ "op": "subscribe", "pairs": [">"] })).await;
    assert_eq!(answer["patterns"], json!([">"]));
    assert_eq!(client.next().await["quotes"].as_array().unwrap().len(), 3);
    server.publish(quote("SOL_USD", 1));
    assert_eq!(client.quote().await["pair"], "SOL_USD");
}

#[tokio::test]
async fn a_pattern_that_is_none_is_an_error_that_names_the_field() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut client, _) = Ws::open(&server).await;
    let many: Vec<String> = (0..65).map(|n| format!("A{n}_*")).collect();
    for (pairs, detail) in [
        (vec!["BTC_USD".to_owned(), "B*_USD".to_owned()], r#"pairs: "B*_USD" is no pattern such as BTC_*, *_EUR or >"#),
        (many, "pairs: at most 64 patterns of many pairs are taken"),
    ] {
        let query = pairs.join(",");
        for op in ["subscribe", "unsubscribe"] {
            let error = client.ask(json!({ "op": op, "pairs": pairs, "id": 1 })).await;
            assert_eq!((&error["type"], &error["error"]["status"]), (&json!("error"), &json!(422)), "{error}");
            assert_eq!(
                (&error["error"]["detail"], &error["error"]["errors"][0]["field"]),
                (&json!(detail), &json!("pairs"))
            );
        }
        let Err(tungstenite::Error::Http(refusal)) = Ws::try_to(&server, &format!("/v1/ws?pairs={query}")).await else {
            panic!("let in")
        };
        assert_eq!(refusal.status(), 422);
        let answer = http(&server, &format!("GET /v1/rates/stream?pairs={query}"), "").await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body.contains(r#""field":"pairs""#), "{answer:?}");
    }
}

/// Clients that chose the same pairs share one write of what changed together.
#[tokio::test]
async fn who_chose_the_same_pairs_gets_them_together() {
    let server = Server::start_with(json!({}), ["BTC_USD", "ETH_USD", "SOL_USD"].map(|pair| quote(pair, 1))).await;
    let mut clients = Vec::new();
    for query in ["BTC_USD,ETH_USD", "ETH-USD,XBT-USD"] {
        let mut client = Ws::to(&server, &format!("/v1/ws?pairs={query}")).await;
        assert_eq!(client.next().await["quotes"].as_array().unwrap().len(), 2);
        clients.push(client);
    }
    // Nothing else runs between these.
    for pair in ["BTC_USD", "SOL_USD", "ETH_USD"] {
        server.publish(quote(pair, 2));
    }
    for client in &mut clients {
        for pair in ["BTC_USD", "ETH_USD"] {
            assert_eq!(client.quote().await["pair"], pair);
        }
    }
    assert_eq!(server.metric("ratebus_joined_total{transport=\"websocket\"}"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_tells_a_quiet_market_from_a_dead_feed() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut client, _) = Ws::open(&server).await;
    let mut other = quote("ETH_USD", 1);
    other.source = "other".parse().unwrap();
    server.publish(other.clone());
    assert_eq!(client.quote().await["pair"], "ETH_USD");
    let first = client.next().await;
    assert_eq!(first["type"], "heartbeat", "{first}");
    // One feed vouches for its price once more, the other is silent.
    other.confirmed_at = quote("ETH_USD", 1).confirmed_at;
    server.publish(other);
    let ages = client.next().await["feedAgeMs"].clone();
    let (silent, other) = (ages["kraken"].as_u64().unwrap(), ages["other"].as_u64().unwrap());
    assert!(other + 10_000 < silent, "{ages}");
}

#[tokio::test]
async fn a_malformed_request_is_answered_and_survived() {
    let server = Server::start().await;
    let (mut client, _) = Ws::open(&server).await;
    for text in ["", "{", "[1]", r#"{"op":"dance"}"#, r#"{"op":"subscribe","pairs":7}"#] {
        client.send(text).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["error"]["status"]), (&json!("error"), &json!(400)), "{text}");
    }
    assert_eq!(client.ask(json!({ "op": "ping", "id": 9 })).await, json!({ "type": "pong", "id": 9 }));
}

#[tokio::test]
async fn rules_that_are_broken_close_the_connection() {
    let server = Server::start().await;
    let flood: Vec<Message> = vec![r#"{"op":"ping"}"#.into(); 11];
    let cases = [
        (vec![Message::text("x".repeat(4097))], 1009, "too_long"),
        (vec![Message::binary(b"x".to_vec())], 1003, "binary"),
        (flood, 1008, "too_many"),
    ];
    for (messages, code, reason) in cases {
        let (mut client, _) = Ws::open(&server).await;
        for message in messages {
            client.0.feed(message).await.unwrap();
        }
        client.0.flush().await.unwrap();
        assert_eq!(client.close_code().await, code, "{reason}");
        let closed = format!("ratebus_clients_closed_total{{transport=\"websocket\",reason=\"{reason}\"}}");
        server.wait_for_metric(&closed, 1).await;
    }
    server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_answered() {
    let server = Server::start().await;
    let (mut client, _) = Ws::open(&server).await;
    client.0.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    assert_eq!(client.close_code().await, 1000);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"websocket\",reason=\"left\"}", 1).await;
}

#[tokio::test]
async fn what_is_no_handshake_gets_a_problem_document() {
    let server = Server::start().await;
    for path in ["/v1/ws", "/v1/ws?pairs=BTC_USD&pairs=ETH_USD", "/v1/rates/stream?pairs=BTC_USD&pairs=ETH_USD"] {
        let answer = http(&server, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_handshake_has_the_right_version_and_key() {
    let server = Server::start().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (version, key, status) in [("13", key, 101), ("8", key, 426), ("13", "c2hvcnQ=", 400), ("13", "?", 400)] {
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let mut stream = connect(server.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(head, format!("HTTP/1.1 {status}").as_bytes(), "{version} {key}");
    }
}

/// What comes right behind the handshake has been read with it.
#[tokio::test]
async fn a_request_may_come_with_the_handshake() {
    let server = Server::start().await;
    let mut request = b"GET /v1/ws?pairs= HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    request.extend([0x81, 0x8d, 0, 0, 0, 0]);
    request.extend(br#"{"op":"ping"}"#);
    let mut stream = connect(server.address).await;
    stream.write_all(&request).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("pong") {
        let mut part = [0; 512];
        let length = timeout(DEADLINE, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&part[..length]));
    }
}

/// What was not sent one by one goes out in one write, each pair once.
#[tokio::test]
async fn what_changed_together_goes_out_together() {
    let server = Server::start().await;
    let (mut client, _) = Ws::open(&server).await;
    // Nothing else runs between these.
    for pair in ["BTC_USD", "ETH_USD", "SOL_USD"] {
        server.publish(quote(pair, 1));
    }
    for pair in ["BTC_USD", "ETH_USD", "SOL_USD"] {
        assert_eq!(client.quote().await["pair"], pair);
    }
    assert_eq!(server.metric("ratebus_joined_total{transport=\"websocket\"}"), 3);
    assert!(server.metric("ratebus_tick_to_socket_seconds_count{transport=\"websocket\"}") > 0);
}

#[tokio::test]
async fn there_is_room_for_so_many_and_no_more() {
    let server = Server::start_with(json!({ "max_clients": 1, "max_clients_per_second": 9 }), []).await;
    let (client, _) = Ws::open(&server).await;
    let Err(tungstenite::Error::Http(refusal)) = Ws::try_to(&server, "/v1/ws").await else { panic!("let in") };
    assert_eq!(refusal.status(), 503);
    let wait: u32 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    for path in ["/v1/rates/stream", "/socket.io/?EIO=4&transport=polling"] {
        let answer = http(&server, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    }
    drop(client);
    server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 0).await;
    Ws::open(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_pings_is_closed() {
    let server = Server::start().await;
    let (silent, _) = Ws::open(&server).await;
    let (mut present, _) = Ws::open(&server).await;
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = present.0.next().await {} });
    server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 2).await;
    let silents = "ratebus_clients_closed_total{transport=\"websocket\",reason=\"silent\"}";
    // The clock is paused: this passes as soon as nothing else is left to do.
    tokio::time::sleep(Duration::from_mins(1)).await;
    server.wait_for_metric(silents, 1).await;
    assert_eq!(server.metric("ratebus_clients{transport=\"websocket\"}"), 1);
    reading.abort();
    drop(silent);
}
