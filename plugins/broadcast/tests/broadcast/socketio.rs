use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use ratebus_sdk::testkit;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    clients::{POLLING, Sio, Ws, connect, event, http, open_polling},
    quotes::{at_known_times, dead, quote, withheld},
    server::{DEADLINE, Server},
};

#[tokio::test]
async fn the_whole_map_comes_at_once_and_with_every_change() {
    let server = Server::start_with(json!({}), [at_known_times("BTC_USD", 1), withheld("ETH_USD", 1)]).await;
    let (mut client, map) = Sio::open(&server).await;
    let entry = json!({
        "original": { "buy": 101, "sell": 100 },
        "withSpread": { "buy": 102, "sell": 99 },
        "currentSpread": { "buy": 1, "sell": -1 },
        "status": "fresh", "updatedAt": "2026-09-19T18:57:46.901377Z",
    });
    assert_eq!(map, json!({ "BTC_USD": entry }));

    server.publish(quote("SOL_USD", 1));
    let map = client.map().await;
    assert_eq!(map.as_object().unwrap().keys().collect::<Vec<_>>(), ["BTC_USD", "SOL_USD"]);
    server.publish(dead("BTC_USD", 2));
    assert_eq!(client.map().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["SOL_USD"]);
    // The pair is not in the map, so nothing in the map changes; the next change is that of another pair.
    server.publish(withheld("ETH_USD", 2));
    server.publish(dead("SOL_USD", 2));
    assert_eq!(client.map().await, json!({}));
}

#[tokio::test]
async fn prices_keep_every_digit() {
    let mut precise = quote("DOGE_USD", 1);
    precise.original.buy = "0.1234567890123456789".parse().unwrap();
    let server = Server::start_with(json!({}), [precise]).await;
    let mut client = Sio(Ws::to(&server, "/socket.io/?EIO=4&transport=websocket").await);
    client.packet().await;
    client.0.send("40").await;
    client.packet().await;
    let packet = client.packet().await;
    assert!(packet.contains(r#""original":{"buy":0.1234567890123456789,"sell":100}"#), "{packet}");
}

#[tokio::test]
async fn polling_clients_are_served() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let open = http(&server, &format!("GET {POLLING}"), "").await;
    let open: Value = serde_json::from_str(open.body.strip_prefix('0').unwrap()).unwrap();
    assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&json!(25_000), &json!(20_000)));
    let session = format!("{POLLING}&sid={}", open["sid"].as_str().unwrap());

    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
    let mut packets = Vec::new();
    while packets.len() < 2 {
        let answer = http(&server, &format!("GET {session}"), "").await;
        packets.extend(answer.body.split('\u{1e}').filter(|&packet| packet != "2").map(str::to_owned));
    }
    assert!(packets[0].starts_with("40{\"sid\":"), "{packets:?}");
    assert_eq!(event(&packets[1])["BTC_USD"]["withSpread"]["buy"], 102);

    // What changed while nobody asked: the newest map, not each one.
    for sequence in 2..100 {
        server.publish(crate::quotes::respread("BTC_USD", sequence, &format!("{}.00", 102 + sequence)));
        server.wait_for_metric("ratebus_encodes_total{encoding=\"live_entry\"}", sequence).await;
    }
    let mut maps = Vec::new();
    while maps.last().is_none_or(|map: &Value| map["BTC_USD"]["withSpread"]["buy"] != 201) {
        let answer = http(&server, &format!("GET {session}"), "").await;
        maps.extend(answer.body.split('\u{1e}').filter(|&packet| packet != "2").map(event));
    }
    assert!(maps.len() <= 3, "{} maps", maps.len());
}

#[tokio::test]
async fn a_polling_client_can_move_to_a_websocket() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let session = open_polling(&server, "").await;
    http(&server, &format!("POST {session}"), "40").await;
    let mut client = Sio(Ws::to(&server, &session.replace("polling", "websocket")).await);
    client.0.send("2probe").await;
    assert_eq!(client.0.text().await, "3probe");
    client.0.send("5").await;
    assert!(client.packet().await.starts_with("40{"));
    assert_eq!(client.map().await["BTC_USD"]["withSpread"]["buy"], 102);
    server.publish(quote("ETH_USD", 1));
    assert_eq!(client.map().await["ETH_USD"]["withSpread"]["buy"], 102);
    assert_eq!(server.metric("ratebus_clients{transport=\"socketio\"}"), 1);
    drop(client);
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 0).await;
}

fn closed(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("ratebus_clients_closed_total{{transport=\"socketio\",reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn what_is_no_request_of_engine_io_is_refused() {
    let server = Server::start().await;
    for query in
        ["", "EIO=4", "transport=polling", "EIO=3&transport=polling", "EIO=4&transport=x", "EIO=x&transport=polling"]
    {
        assert_eq!(http(&server, &format!("GET /socket.io/?{query}"), "").await.status, 400, "{query}");
    }
    let session = open_polling(&server, "").await;
    let unknown = [format!("{POLLING}&sid=x"), format!("{POLLING}&sid={}", "A".repeat(32))];
    let requests = [format!("POST {POLLING}"), format!("GET {}", unknown[0])];
    for request in requests.into_iter().chain([format!("GET {}", unknown[1]), format!("POST {}", unknown[1])]) {
        let answer = http(&server, &request, "3").await;
        assert_eq!(answer.status, 400, "{request}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    }
    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    let poll = format!("GET {session}");
    let (one, other) = tokio::join!(http(&server, &poll, ""), http(&server, &poll, ""));
    let mut answers = [(one.status, &*one.body), (other.status, "")];
    if one.status == 400 {
        answers = [(other.status, &*other.body), (one.status, "")];
    }
    assert_eq!(answers, [(200, "1"), (400, "")]);
    assert_eq!(http(&server, &poll, "").await.status, 400);
    assert_eq!(closed(&server, "malformed"), 1);
}

#[tokio::test]
async fn a_poll_that_is_given_up_ends_the_session() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    let mut poll = connect(server.address).await;
    poll.write_all(format!("GET {session} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
    drop(poll);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"lost\"}", 1).await;
    assert_eq!(http(&server, &format!("GET {session}"), "").await.status, 400);
}

#[tokio::test]
async fn a_polling_client_says_goodbye() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    assert_eq!(http(&server, &format!("POST {session}"), "1").await.body, "ok");
    assert_eq!(http(&server, &format!("GET {session}"), "").await.body, "6");
    assert_eq!(http(&server, &format!("GET {session}"), "").await.status, 400);
    assert_eq!(closed(&server, "left"), 1);
}

#[tokio::test]
async fn after_the_upgrade_requests_are_refused_and_nothing_is_lost() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let session = open_polling(&server, "").await;
    let websocket = session.replace("polling", "websocket");
    let mut client = Sio(Ws::to(&server, &websocket).await);
    client.0.send("2probe").await;
    assert_eq!(client.0.text().await, "3probe");
    // A poll that is there ends, so that the client can go on with the other transport.
    assert_eq!(http(&server, &format!("GET {session}"), "").await.body, "6");
    // What is asked in the meantime is answered after it.
    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
    client.0.send("5").await;
    assert!(client.packet().await.starts_with("40{"));
    client.map().await;
    for request in [format!("GET {session}"), format!("POST {session}")] {
        assert_eq!(http(&server, &request, "3").await.status, 400, "{request}");
    }
    assert_eq!(Ws::to(&server, &websocket).await.close_code().await, 0);
    server.publish(quote("ETH_USD", 1));
    assert!(client.map().await["ETH_USD"].is_object());
}

#[tokio::test]
async fn a_websocket_that_takes_over_wrongly_is_closed_and_polling_goes_on() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    for first in ["5", "40", "2", "x"] {
        let mut client = Ws::to(&server, &session.replace("polling", "websocket")).await;
        client.send(first).await;
        assert_eq!(client.close_code().await, 0, "{first}");
    }
    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
    assert!(http(&server, &format!("GET {session}"), "").await.body.starts_with("40{"));
}

#[tokio::test(start_paused = true)]
async fn the_first_ping_comes_after_its_interval_and_wants_an_answer() {
    let server = Server::start().await;
    let started = tokio::time::Instant::now();
    let mut clients = Vec::new();
    for answers in [true, false] {
        let mut client = Ws::to(&server, "/socket.io/?EIO=4&transport=websocket").await;
        client.text().await;
        client.send("40").await;
        client.text().await;
        client.text().await;
        clients.push((client, answers));
    }
    let waits = clients.into_iter().map(|(mut client, answers)| async move {
        let mut pings = Vec::new();
        while let Some(Ok(message)) = client.0.next().await {
            if message.to_text().is_ok_and(|text| text == "2") {
                pings.push(started.elapsed().as_secs());
                if pings.len() == 2 {
                    break;
                }
                if answers {
                    client.send("3").await;
                }
            }
        }
        pings
    });
    let pings = futures_util::future::join_all(waits).await;
    assert_eq!(pings, [vec![25, 50], vec![25]]);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"silent\"}", 1).await;
}

/// What is kept for a client that asks and does not poll is little.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_poll_is_let_go() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    let ask = format!("POST {session}");
    while http(&server, &ask, &["40/x"; 9].join("\u{1e}")).await.status == 200 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(closed(&server, "stalled"), 1);
}

#[tokio::test]
async fn there_is_one_namespace_and_no_other() {
    let server = Server::start().await;
    let mut client = Sio(Ws::to(&server, "/socket.io/?EIO=4&transport=websocket").await);
    client.packet().await;
    client.0.send("40/admin,{\"token\":\"x\"}").await;
    assert_eq!(client.packet().await, "44/admin,{\"message\":\"Invalid namespace\"}");
    client.0.send("40{\"token\":\"x\"}").await;
    assert!(client.packet().await.starts_with("40{\"sid\":"));
    assert_eq!(client.map().await, json!({}));
    // Events are nobody's business; leaving is.
    client.0.send("42[\"rates:live\",{}]").await;
    client.0.send("41").await;
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"left\"}", 1).await;
}

/// Bytes of an event belong to it, whoever wants them; the event is taken as any other.
#[tokio::test]
async fn bytes_of_events_are_let_go_and_others_are_out_of_place() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut client, _) = Sio::open(&server).await;
    let bytes = || Message::binary(vec![1, 2, 3]);
    client.0.send(r#"452-["file",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    client.0.send(bytes()).await;
    client.0.send(bytes()).await;
    client.0.send(r#"451-7["subscribe",{"pairs":{"_placeholder":true,"num":0}}]"#).await;
    client.0.send(bytes()).await;
    let answer = client.packet().await;
    assert!(answer.starts_with("437[{\"error\":{") && answer.contains("\"status\":400"), "{answer}");
    assert_eq!(client.emit(&json!(["subscribe", { "pairs": [] }])).await["pairs"], json!(["BTC_USD"]));
    client.0.send(bytes()).await;
    assert_eq!(client.0.close_code().await, 1003);

    let (mut client, _) = Sio::open(&server).await;
    client.0.send(r#"451-["file",{"_placeholder":true,"num":0}]"#).await;
    client.0.send("42[\"file\"]").await;
    assert_eq!(client.0.close_code().await, 1002);
}

#[tokio::test]
async fn a_post_that_breaks_off_ends_the_session() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    let mut post = connect(server.address).await;
    post.write_all(format!("POST {session} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n40").as_bytes())
        .await
        .unwrap();
    drop(post);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"lost\"}", 1).await;
}

#[tokio::test]
async fn rules_that_are_broken_close_the_connection() {
    let server = Server::start().await;
    let flood = vec!["42[\"event\"]"; 11];
    for (messages, reason) in [(vec!["4x"], "malformed"), (vec!["z"], "malformed"), (flood, "too_many")] {
        let (mut client, _) = Sio::open(&server).await;
        // In one write: within a second, whatever the machine.
        for message in messages {
            client.0.0.feed(message.into()).await.unwrap();
        }
        client.0.0.flush().await.unwrap();
        client.0.close_code().await;
        let closed = format!("ratebus_clients_closed_total{{transport=\"socketio\",reason=\"{reason}\"}}");
        testkit::eventually(reason, DEADLINE, || server.metric(&closed) > 0).await;
    }
    let (mut client, _) = Sio::open(&server).await;
    client.0.send("4".repeat(4097)).await;
    client.0.close_code().await;
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 0).await;
}

#[tokio::test]
async fn it_can_be_left_out() {
    let server = Server::start_with(json!({ "socketio": false }), []).await;
    assert_eq!(http(&server, &format!("GET {POLLING}"), "").await.status, 404);
}
