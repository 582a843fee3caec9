//! Streams for people who are logged in alone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use crate::{
    clients::{Sio, Sse, Ws, connect, event, http, http_with, open_polling},
    quotes::quote,
    server::Server,
};

const HOUR: Duration = Duration::from_hours(1);
const SOCKETIO: &str = "/socket.io/?EIO=4&transport=websocket";

/// With the session `ann`, whose token is `ann-1`.
async fn start() -> Server {
    let server = Server::start_with(json!({ "access": "accounts" }), [quote("BTC_USD", 1)]).await;
    server.logins.add("ann", "ann-1", HOUR);
    server
}

fn auth(token: &str) -> String {
    json!({ "op": "auth", "token": token, "id": 1 }).to_string()
}

async fn header(server: &Server, path: &str, value: &str) -> Result<Ws, tungstenite::Error> {
    Ws::try_with(server, path, &[("authorization", value)], connect(server.address).await).await
}

/// Nobody is let in with it.
async fn refused(server: &Server, path: &str, value: &str) -> u16 {
    let Err(tungstenite::Error::Http(refusal)) = header(server, path, value).await else { panic!("let in") };
    refusal.status().as_u16()
}

fn closed(server: &Server, transport: &str, reason: &str) -> u64 {
    server.metric(&format!("ratebus_clients_closed_total{{transport=\"{transport}\",reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn a_websocket_shows_its_token_with_the_handshake_or_first() {
    let server = start().await;
    let mut client = header(&server, "/v1/ws", "Bearer ann-1").await.unwrap();
    assert_eq!(client.next().await["quotes"][0]["pair"], "BTC_USD");

    let mut client = Ws::to(&server, "/v1/ws?pairs=BTC_USD").await;
    client.send(auth("ann-1")).await;
    let answer = client.next().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("authenticated"), &json!(1)));
    assert!(answer["expiresAt"].as_str().unwrap().ends_with('Z'), "{answer}");
    assert_eq!(client.next().await["quotes"][0]["pair"], "BTC_USD");
    server.publish(quote("BTC_USD", 2));
    assert_eq!(client.quote().await["sequence"], 2);
}

#[tokio::test]
async fn without_a_good_token_no_rate_is_sent() {
    let server = start().await;
    for value in ["Bearer nobody", "Bearer", "Basic YTpi", "ann-1"] {
        for path in ["/v1/ws", SOCKETIO] {
            assert_eq!(refused(&server, path, value).await, 401, "{path} {value}");
        }
    }
    // What is in the URL counts for nothing.
    for first in [auth("nobody"), json!({ "op": "ping" }).to_string(), "{".to_owned()] {
        let mut client = Ws::to(&server, "/v1/ws?token=ann-1&access_token=ann-1").await;
        client.send(first.clone()).await;
        assert_eq!(client.rest().await, (1008, vec![]), "{first}");
    }
    for path in ["/v1/rates/stream", "/v1/rates/stream?token=ann-1", "/v1/rates/stream?pairs=NO_PAIR"] {
        for headers in ["", "Authorization: Bearer nobody\r\n", "Authorization: ann-1\r\n"] {
            let answer = http_with(&server, &format!("GET {path}"), headers, "").await;
            assert_eq!(answer.status, 401, "{path} {headers}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
            assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
        }
    }
    for packet in ["40", "40{}", "40{\"token\":\"nobody\"}", "40{\"token\":7}", "40/,{\"token\":null}"] {
        let mut client = Sio(Ws::to(&server, &format!("{SOCKETIO}&token=ann-1")).await);
        client.packet().await;
        client.0.send(packet).await;
        // The transport's own packets are of no interest.
        let texts: Vec<_> = client.0.rest().await.1.into_iter().filter(|text| text.starts_with('4')).collect();
        let [error] = &texts[..] else { panic!("{texts:?}") };
        let error: Value = serde_json::from_str(error.strip_prefix("44").unwrap()).unwrap();
        assert_eq!((&error["message"], &error["data"]["status"]), (&json!("a valid token is required"), &json!(401)));
    }
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 0).await;
    assert_eq!(closed(&server, "socketio", "unauthenticated"), 5);
    server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 0).await;
    assert_eq!(closed(&server, "websocket", "unauthenticated"), 3);
}

#[tokio::test]
async fn an_event_stream_shows_its_token_with_the_request() {
    let server = start().await;
    let mut client = Sse::with(&server, "/v1/rates/stream", "Authorization: Bearer ann-1\r\n").await;
    client.event("snapshot").await;
    server.publish(quote("BTC_USD", 2));
    assert_eq!(client.quote().await["sequence"], 2);
    server.logins.end("ann");
    assert_eq!(client.block().await, None);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"sse\",reason=\"session_over\"}", 1).await;
}

#[tokio::test]
async fn a_socket_shows_its_token_when_it_joins_or_with_the_handshake() {
    let server = start().await;
    let mut client = Sio(Ws::to(&server, SOCKETIO).await);
    client.packet().await;
    client.0.send("40{\"token\":\"ann-1\"}").await;
    assert!(client.packet().await.starts_with("40{\"sid\":"));
    assert_eq!(client.map().await["BTC_USD"]["withSpread"]["buy"], 102);

    let mut other = Sio(header(&server, SOCKETIO, "Bearer ann-1").await.unwrap());
    other.packet().await;
    other.0.send("40").await;
    assert!(other.packet().await.starts_with("40{\"sid\":"));
    other.map().await;

    // The end of the session is a DISCONNECT packet, after which clients do not come back by themselves.
    server.logins.end("ann");
    assert_eq!(client.packet().await, "41");
    assert_eq!(other.packet().await, "41");
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"socketio\",reason=\"session_over\"}", 2).await;
}

#[tokio::test]
async fn a_polling_client_shows_its_token_too() {
    let server = start().await;
    let session = open_polling(&server, "").await;
    assert_eq!(http(&server, &format!("POST {session}"), "40{\"token\":\"ann-1\"}").await.body, "ok");
    let mut packets: Vec<String> = Vec::new();
    while packets.len() < 3 {
        let answer = http(&server, &format!("GET {session}"), "").await;
        packets.extend(answer.body.split('\u{1e}').filter(|&packet| packet != "2").map(str::to_owned));
        if packets.len() == 2 {
            server.logins.end("ann");
        }
    }
    assert!(packets[0].starts_with("40{\"sid\":"), "{packets:?}");
    assert_eq!(event(&packets[1])["BTC_USD"]["withSpread"]["buy"], 102);
    assert_eq!(packets[2], "41");
}

/// Clients see the end of a session before what came in the same answer.
#[tokio::test]
async fn a_polling_client_is_told_why_before_the_end() {
    let server = start().await;
    let session = open_polling(&server, "").await;
    let poll = format!("GET {session}");
    let join = async { http(&server, &format!("POST {session}"), "40{\"token\":\"nobody\"}").await };
    let (told, posted) = tokio::join!(http(&server, &poll, ""), join);
    assert!(told.body.starts_with("44{") && !told.body.contains('\u{1e}'), "{told:?}");
    assert_eq!(posted.body, "ok");
    assert_eq!(http(&server, &poll, "").await.body, "1");
    assert_eq!(http(&server, &poll, "").await.status, 400);
    assert_eq!(closed(&server, "socketio", "unauthenticated"), 1);
}

/// The official clients stop polling before they go on with the other transport, and do not start again if that is closed.
#[tokio::test]
async fn a_client_that_changes_its_transport_is_told_why_before_the_end() {
    for is_stopping in [false, true] {
        let server = start().await;
        let session = open_polling(&server, "").await;
        let mut client = Ws::to(&server, &session.replace("polling", "websocket")).await;
        client.send("2probe").await;
        assert_eq!(client.text().await, "3probe");
        assert_eq!(http(&server, &format!("GET {session}"), "").await.body, "6");
        if is_stopping {
            server.cancel();
        } else {
            assert_eq!(http(&server, &format!("POST {session}"), "40{\"token\":\"nobody\"}").await.body, "ok");
        }
        client.send("5").await;
        let (code, texts) = client.rest().await;
        assert_eq!(texts.iter().any(|text| text.starts_with("44{")), !is_stopping, "{texts:?}");
        assert_eq!(code, if is_stopping { 1012 } else { 1008 });
    }
}

#[tokio::test]
async fn a_token_that_is_not_for_joining_lets_nobody_join() {
    let server = start().await;
    for late in ["", "40"] {
        let mut client = Sio(Ws::to(&server, SOCKETIO).await);
        client.packet().await;
        for packet in ["42[\"auth\",{\"token\":\"ann-1\"}]", late] {
            client.0.send(packet).await;
        }
        let texts = client.0.rest().await.1;
        assert!(!texts.iter().any(|text| text.starts_with("42")), "{texts:?}");
    }
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 0).await;
}

#[tokio::test]
async fn who_reads_nothing_is_sent_away_with_the_session_all_the_same() {
    let server = start().await;
    server.logins.add("bob", "bob-1", HOUR);
    let mut reading = header(&server, "/v1/ws", "Bearer bob-1").await.unwrap();
    let stuck = header(&server, "/v1/ws", "Bearer ann-1").await.unwrap();
    reading.next().await;
    // More than the buffers of both ends hold.
    for sequence in 2..=600 {
        server.publish(quote("BTC_USD", sequence));
        assert_eq!(reading.quote().await["sequence"], sequence);
    }
    server.logins.end("ann");
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"websocket\",reason=\"session_over\"}", 1).await;
    drop(stuck);
}

#[tokio::test]
async fn a_session_that_ends_closes_its_sockets_and_no_others() {
    let server = start().await;
    server.logins.add("bob", "bob-1", HOUR);
    let mut ann = header(&server, "/v1/ws", "Bearer ann-1").await.unwrap();
    let mut bob = header(&server, "/v1/ws", "Bearer bob-1").await.unwrap();
    bob.next().await;
    server.logins.end("ann");
    let (code, texts) = ann.rest().await;
    assert_eq!((code, texts.len()), (1008, 1));
    server.publish(quote("BTC_USD", 2));
    assert_eq!(bob.quote().await["sequence"], 2);
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"websocket\",reason=\"session_over\"}", 1).await;
}

#[tokio::test]
async fn a_token_that_runs_out_closes_unless_a_newer_one_was_shown() {
    let server = start().await;
    // Long enough for all that is said before it, on a slow machine, too.
    server.logins.add("ann", "short", Duration::from_secs(5));
    server.logins.add("bob", "bob-1", HOUR);
    let mut renewed = header(&server, "/v1/ws", "Bearer short").await.unwrap();
    renewed.next().await;
    // Of the same session it must be; a bad one changes nothing.
    for (token, status) in [("nobody", 401), ("bob-1", 403)] {
        renewed.send(auth(token)).await;
        let answer = renewed.next().await;
        assert_eq!((&answer["type"], &answer["error"]["status"]), (&json!("error"), &json!(status)), "{answer}");
    }
    renewed.send(auth("ann-1")).await;
    let until = renewed.next().await["expiresAt"].clone();
    assert!(until.is_string());
    // The better of both counts.
    renewed.send(auth("short")).await;
    assert_eq!(renewed.next().await["expiresAt"], until);

    let mut socket = Sio(Ws::to(&server, SOCKETIO).await);
    socket.packet().await;
    socket.0.send("40{\"token\":\"short\"}").await;
    socket.packet().await;
    socket.map().await;
    socket.0.send("427[\"auth\",{\"token\":\"ann-1\"}]").await;
    assert_eq!(socket.packet().await, format!("437[{{\"expiresAt\":{until}}}]"));
    socket.0.send("428[\"auth\",{\"token\":\"bob-1\"}]").await;
    let answer = socket.packet().await;
    assert!(answer.starts_with("438[{\"error\":{") && answer.contains("\"status\":403"), "{answer}");

    let mut short = header(&server, "/v1/ws", "Bearer short").await.unwrap();
    let (code, texts) = short.rest().await;
    assert_eq!((code, texts.len()), (1008, 1));
    server.publish(quote("BTC_USD", 2));
    assert_eq!(renewed.quote().await["sequence"], 2);
    assert_eq!(socket.map().await["BTC_USD"]["withSpread"]["buy"], 102);
}

#[tokio::test]
async fn nobody_is_let_in_while_nobody_can_tell_and_nobody_is_sent_away() {
    let server = start().await;
    let mut before = header(&server, "/v1/ws", "Bearer ann-1").await.unwrap();
    before.next().await;
    server.logins.set_away(true);
    assert_eq!(refused(&server, "/v1/ws", "Bearer ann-1").await, 503);
    let answer = http_with(&server, "GET /v1/rates/stream", "Authorization: Bearer ann-1\r\n", "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    let mut client = Ws::to(&server, "/v1/ws").await;
    client.send(auth("ann-1")).await;
    assert_eq!(client.rest().await, (1013, vec![]));
    let mut client = Sio(Ws::to(&server, SOCKETIO).await);
    client.packet().await;
    client.0.send("40{\"token\":\"ann-1\"}").await;
    let error = client.packet().await;
    assert!(error.starts_with("44{") && error.contains("\"status\":503"), "{error}");
    // A newer token cannot be taken, and the old one goes on.
    before.send(auth("ann-1")).await;
    assert_eq!(before.next().await["error"]["status"], 503);
    server.publish(quote("BTC_USD", 2));
    assert_eq!(before.quote().await["sequence"], 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_who_they_are_is_sent_away() {
    let server = start().await;
    let started = tokio::time::Instant::now();
    let mut client = Ws::to(&server, "/v1/ws").await;
    let mut socket = Sio(Ws::to(&server, SOCKETIO).await);
    socket.packet().await;
    assert_eq!(client.rest().await, (1008, vec![]));
    assert_eq!(started.elapsed().as_secs(), 5);
    let error = socket.packet().await;
    assert!(error.starts_with("44{\""), "{error}");
    socket.0.rest().await;
    assert_eq!(started.elapsed().as_secs(), 5);
}

/// The time a token takes to check is not the client's, and what cannot be checked is not wrong.
#[tokio::test(start_paused = true)]
async fn a_check_that_takes_long_is_waited_for_up_to_its_own_limit() {
    let server = start().await;
    server.logins.set_delay(Duration::from_secs(7));
    let mut client = Ws::to(&server, "/v1/ws").await;
    client.send(auth("ann-1")).await;
    assert_eq!(client.next().await["type"], "authenticated");
    let mut socket = Sio(Ws::to(&server, SOCKETIO).await);
    socket.packet().await;
    socket.0.send("40{\"token\":\"ann-1\"}").await;
    let joined = socket.packet().await;
    assert!(joined.starts_with("40{"), "{joined}");

    for (delay, away) in [(7, true), (60, false)] {
        server.logins.set_delay(Duration::from_secs(delay));
        server.logins.set_away(away);
        let mut client = Ws::to(&server, "/v1/ws").await;
        client.send(auth("ann-1")).await;
        assert_eq!(client.rest().await, (1013, vec![]));
        let mut client = Sio(Ws::to(&server, SOCKETIO).await);
        client.packet().await;
        client.0.send("40{\"token\":\"ann-1\"}").await;
        let error = client.packet().await;
        assert!(error.starts_with("44{") && error.contains("\"status\":503"), "{error}");
    }
}

#[tokio::test]
async fn public_streams_look_at_no_token() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    for value in ["Bearer nobody", "nonsense"] {
        let mut client = header(&server, "/v1/ws", value).await.unwrap();
        client.next().await;
        client.send(auth("nobody")).await;
        let answer = client.next().await;
        assert_eq!((&answer["type"], &answer["error"]["status"]), (&json!("error"), &json!(400)), "{answer}");
    }
    let mut client = Sse::with(&server, "/v1/rates/stream", "Authorization: Bearer nobody\r\n").await;
    client.event("snapshot").await;
}
