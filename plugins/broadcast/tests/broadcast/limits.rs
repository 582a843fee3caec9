//! What is taken from a client: little, and nothing of what breaks the protocol. Frames are sent byte by byte, and what
//! is too long is refused before it has come: so nothing of it is kept.

use ratebus_sdk::testkit;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    clients::{Sio, Ws, http, open_polling},
    quotes::{pairs, quote},
    server::{DEADLINE, Server},
};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const PING: u8 = 0x9;
const FIN: u8 = 0x80;
const MASK: u8 = 0x80;

/// The head of a masked frame of `length` bytes, with a mask that changes nothing (RFC 6455, section 5.2).
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..=125 => head.push(MASK | u8::try_from(length).unwrap()),
        126..=0xffff => {
            head.push(MASK | 0x7e);
            head.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            head.push(MASK | 0x7f);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [head(first, payload.len() as u64), payload.to_vec()].concat()
}

/// Frames that end a connection, each with the code and the reason that is counted.
fn offences() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let part = [b' '; 2049];
    let endless = [frame(TEXT, &part), frame(0, &part)].concat();
    vec![
        ("a frame of 60 MiB, of which only the head has come", head(FIN | TEXT, 60 << 20), 1009, "too_long"),
        ("a frame of 2^63 bytes", head(FIN | TEXT, 1 << 63), 1009, "too_long"),
        ("a first fragment of 60 MiB", head(TEXT, 60 << 20), 1009, "too_long"),
        ("fragments without an end", endless, 1009, "too_long"),
        ("4097 bytes", frame(FIN | TEXT, &[b' '; 4097]), 1009, "too_long"),
        ("a fragment after a short one", [frame(TEXT, b"{"), head(0, 60 << 20)].concat(), 1009, "too_long"),
        ("unmasked", vec![FIN | TEXT, 1, b'x'], 1002, "malformed"),
        ("a reserved bit", head(FIN | TEXT | 0x40, 0), 1002, "malformed"),
        ("another reserved bit", head(FIN | TEXT | 0x20, 0), 1002, "malformed"),
        ("the last reserved bit", head(FIN | TEXT | 0x10, 0), 1002, "malformed"),
        ("an unknown opcode", head(FIN | 0x3, 0), 1002, "malformed"),
        ("an unknown control frame", head(FIN | 0xb, 0), 1002, "malformed"),
        ("a continuation of nothing", frame(FIN, b"x"), 1002, "malformed"),
        ("a message within a message", [frame(TEXT, b"{"), frame(FIN | TEXT, b"{}")].concat(), 1002, "malformed"),
        ("a ping in parts", head(PING, 0), 1002, "malformed"),
        ("a long ping", frame(FIN | PING, &[0; 126]), 1002, "malformed"),
        ("text that is no UTF-8", frame(FIN | TEXT, b"\xff"), 1007, "not_utf8"),
        ("binary", frame(FIN | BINARY, b"x"), 1003, "binary"),
        ("eleven pings", frame(FIN | PING, b"").repeat(11), 1008, "too_many"),
    ]
}

#[tokio::test]
async fn a_websocket_that_breaks_a_rule_is_told_which() {
    let server = Server::start().await;
    for (name, bytes, code, reason) in offences() {
        let closed = format!("ratebus_clients_closed_total{{transport=\"websocket\",reason=\"{reason}\"}}");
        let before = server.metric(&closed);
        let (mut client, _) = Ws::open(&server).await;
        client.0.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(client.close_code().await, code, "{name}");
        server.wait_for_metric(&closed, before + 1).await;
    }
    server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 0).await;
}

#[tokio::test]
async fn a_socket_that_breaks_a_rule_is_closed() {
    let server = Server::start().await;
    for (name, bytes, ..) in offences() {
        let (mut client, _) = Sio::open(&server).await;
        client.0.0.get_mut().write_all(&bytes).await.unwrap();
        client.0.rest().await;
        testkit::eventually(name, DEADLINE, || server.metric("ratebus_clients{transport=\"socketio\"}") == 0).await;
    }
}

#[tokio::test]
async fn a_polling_client_has_the_same_limits() {
    let server = Server::start().await;
    let cases = [("4".repeat(4097), 413, "too_long"), (["42[1]"; 11].join("\u{1e}"), 200, "too_many")];
    for (body, status, reason) in cases {
        let session = format!("POST {}", open_polling(&server, "").await);
        assert_eq!(http(&server, &session, "40").await.body, "ok");
        assert_eq!(http(&server, &session, &body).await.status, status, "{reason}");
        let closed = format!("ratebus_clients_closed_total{{transport=\"socketio\",reason=\"{reason}\"}}");
        server.wait_for_metric(&closed, 1).await;
    }
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 0).await;
}

/// A client is kept what it subscribed to, and it cannot subscribe to what nobody serves.
#[tokio::test]
async fn there_are_no_more_subscriptions_than_pairs() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    server.serve_pairs(pairs(&["BTC_USD", "ETH_USD"]));
    let mut client = Ws::to(&server, "/v1/ws?pairs=").await;
    client.next().await;
    let made_up = (0..300).map(|number| format!("X{number}_USD"));
    let wanted: Vec<String> = made_up.chain(["BTC_USD".to_owned()]).collect();
    client.send(json!({ "op": "subscribe", "pairs": wanted }).to_string()).await;
    assert_eq!(client.next().await["error"]["status"], 404);
    assert_eq!(client.next().await["pairs"], json!(["BTC_USD"]));
}
