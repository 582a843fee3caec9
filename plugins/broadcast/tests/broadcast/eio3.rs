//! Clients of Socket.IO 2.x, which speak Engine.IO 3.

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{
    clients::{Sio, Ws, event, http, http_with},
    quotes::quote,
    server::Server,
};

const POLLING: &str = "/socket.io/?EIO=3&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=3&transport=websocket";

async fn server() -> Server {
    Server::start_with(json!({ "socketio_eio3": true }), [quote("BTC_USD", 1)]).await
}

/// The packets of an answer: `<length>:<packet>`, all of it ASCII here.
fn packets(body: &str) -> Vec<String> {
    let (mut rest, mut packets) = (body, Vec::new());
    while let Some((length, after)) = rest.split_once(':') {
        let (packet, after) = after.split_at(length.parse().unwrap());
        packets.push(packet.to_owned());
        rest = after;
    }
    assert_eq!(rest, "", "{body}");
    packets
}

/// Opens a session that polls: the path of its requests, and the packets that came with it.
async fn open(server: &Server) -> (String, Vec<String>) {
    let mut packets = packets(&http(server, &format!("GET {POLLING}&b64=1"), "").await.body);
    let open: Value = serde_json::from_str(packets.remove(0).strip_prefix('0').unwrap()).unwrap();
    assert_eq!((&open["upgrades"], &open["pingInterval"]), (&json!(["websocket"]), &json!(25_000)));
    (format!("{POLLING}&sid={}", open["sid"].as_str().unwrap()), packets)
}

#[tokio::test]
async fn they_are_refused_unless_the_config_wants_them() {
    let server = Server::start().await;
    for query in [POLLING, WEBSOCKET] {
        let answer = http(&server, &format!("GET {query}"), "").await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("EIO: 4 was expected"), "{}", answer.body);
    }
}

#[tokio::test]
async fn they_poll_with_lengths_and_have_joined_as_they_come() {
    let server = server().await;
    let (session, mut got) = open(&server).await;
    while got.len() < 2 {
        got.extend(packets(&http(&server, &format!("GET {session}"), "").await.body));
    }
    assert_eq!(got[0], "40");
    assert_eq!(event(&got[1])["BTC_USD"]["withSpread"]["buy"], 102);

    let events = ["2", "40/admin?token=x,", r#"427["subscribe",{"pairs":["BTC_USD"]}]"#];
    let post = events.map(|packet| format!("{}:{packet}", packet.len())).concat();
    assert_eq!(http(&server, &format!("POST {session}"), &post).await.body, "ok");
    let answers = packets(&http(&server, &format!("GET {session}"), "").await.body);
    assert_eq!(
        answers,
        ["3", r#"44/admin,{"message":"Invalid namespace"}"#, r#"437[{"pairs":["BTC_USD"],"patterns":[">"]}]"#]
    );
    for (body, status) in [("1:1", 200), ("1:2", 200)] {
        assert_eq!(http(&server, &format!("POST {session}"), body).await.status, status, "{body}");
    }
    assert_eq!(http(&server, &format!("GET {session}"), "").await.body, "1:6");
    assert_eq!(http(&server, &format!("GET {session}"), "").await.status, 400);
}

#[tokio::test]
async fn what_is_no_packet_ends_the_session() {
    let server = server().await;
    for body in ["40", "3:40", "1:3", "10:b4AQIDBA=="] {
        let (session, _) = open(&server).await;
        assert_eq!(
            http(&server, &format!("POST {session}"), body).await.status,
            if body.len() > 9 { 200 } else { 400 },
            "{body}"
        );
        assert_eq!(http(&server, &format!("GET {session}"), "").await.status, 400, "{body}");
    }
    let answer = http(&server, &format!("GET {POLLING}&j=0"), "").await;
    assert!(answer.status == 400 && answer.body.contains("j: JSONP"), "{answer:?}");
}

#[tokio::test]
async fn they_move_to_a_websocket() {
    let server = server().await;
    let (session, _) = open(&server).await;
    let mut client = Sio(Ws::to(&server, &session.replace("polling", "websocket")).await);
    client.0.send("2probe").await;
    assert_eq!(client.0.text().await, "3probe");
    client.0.send("5").await;
    client.map().await;
    client.0.send("2").await;
    assert_eq!(client.0.text().await, "3");
    server.publish(quote("ETH_USD", 1));
    assert!(client.map().await["ETH_USD"].is_object());
    client.0.send("41").await;
    client.0.rest().await;
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"left\"}", 1).await;
}

/// They ask, and are gone when they have not for an interval and a timeout.
#[tokio::test(start_paused = true)]
async fn they_have_to_show_that_they_are_there() {
    let server = server().await;
    let started = tokio::time::Instant::now();
    let lives = [false, true].map(|asks| {
        let server = &server;
        async move {
            let mut client = Ws::to(server, WEBSOCKET).await;
            for expected in ["0{", "40", "42["] {
                assert!(client.text().await.starts_with(expected));
            }
            if asks {
                tokio::time::sleep(std::time::Duration::from_secs(30)).await;
                client.send("2").await;
                assert_eq!(client.text().await, "3");
            }
            while client.0.next().await.is_some_and(|message| message.is_ok()) {}
            started.elapsed().as_secs()
        }
    });
    let seconds = futures_util::future::join_all(lives).await;
    assert!((45..60).contains(&seconds[0]) && (75..90).contains(&seconds[1]), "{seconds:?}");
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"silent\"}", 2).await;
}

#[tokio::test]
async fn their_token_comes_with_the_first_request() {
    let server =
        Server::start_with(json!({ "socketio_eio3": true, "access": "accounts" }), [quote("BTC_USD", 1)]).await;
    server.logins.add("ann", "ann-1", std::time::Duration::from_hours(1));
    assert_eq!(http(&server, &format!("GET {POLLING}"), "").await.status, 401);
    let shown = http_with(&server, &format!("GET {POLLING}"), "Authorization: Bearer ann-1\r\n", "").await;
    assert_eq!(packets(&shown.body)[1], "40");
}
