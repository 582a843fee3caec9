//! Which pages may use the streams from a browser, which lets every page try.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use crate::{
    clients::{POLLING, Ws, connect, http, http_with, open_polling},
    server::Server,
};

/// What [`http_with`] sends as `Host`.
const HOST: &str = "test";

/// What a page of `origin` is answered by each transport; `None` is no browser.
async fn answers(server: &Server, origin: Option<&str>) -> [u16; 4] {
    let line = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    let polling = http_with(server, &format!("GET {POLLING}"), &line, "").await.status;
    // An event stream does not end: what is no stream tells as much, with the pair that nobody serves.
    let stream = http_with(server, "GET /v1/rates/stream?pairs=NO_PAIR", &line, "").await.status;
    let mut statuses = [polling, stream, 0, 0];
    for (status, path) in statuses[2..].iter_mut().zip(["/v1/ws", "/socket.io/?EIO=4&transport=websocket"]) {
        let headers: Vec<_> = [("host", HOST)].into_iter().chain(origin.map(|origin| ("origin", origin))).collect();
        *status = match Ws::try_with(server, path, &headers, connect(server.address).await).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(refusal)) => refusal.status().as_u16(),
            Err(error) => panic!("{error}"),
        };
    }
    statuses
}

async fn check(origins: Value, settings: Value, allowed: &[&str], refused: &[&str]) {
    let server = Server::start_for(&origins, settings.clone()).await;
    // With accounts an event stream asks for a token with the request.
    let welcome = if settings["access"] == "accounts" { [200, 401, 101, 101] } else { [200, 404, 101, 101] };
    assert_eq!(answers(&server, None).await, welcome, "no browser, {origins}");
    for origin in allowed {
        assert_eq!(answers(&server, Some(origin)).await, welcome, "{origin}, {origins}");
    }
    for origin in refused {
        assert_eq!(answers(&server, Some(origin)).await, [403; 4], "{origin}, {origins}");
    }
    let refusals = server.metric("ratebus_clients_refused_total{transport=\"websocket\",reason=\"origin\"}");
    assert_eq!(refusals, refused.len() as u64);
}

const STRANGERS: [&str; 12] = [
    "null",
    "https://good.example.evil",
    "https://evil.good.example",
    "https://evilgood.example",
    "https://good.example:8443",
    "https://good.example/",
    "http://good.example",
    "HTTPS://GOOD.EXAMPLE",
    "https://good.example https://evil.example",
    "https://test.evil",
    "https://test:1",
    "good.example",
];

#[tokio::test]
async fn pages_of_our_own_and_of_listed_origins_may() {
    let own = ["http://test", "https://test", "https://TEST"];
    check(json!([]), json!({}), &own, &STRANGERS).await;
    check(json!([]), json!({}), &[], &["https://good.example"]).await;
    let listed = ["https://good.example", "https://other.example:8443", "http://test"];
    check(json!(["https://good.example", "https://other.example:8443"]), json!({}), &listed, &STRANGERS).await;
    let accounts = json!({ "access": "accounts" });
    check(json!(["https://good.example"]), accounts, &["https://good.example", "http://test"], &STRANGERS).await;
}

#[tokio::test]
async fn every_page_may_read_what_is_public_and_nothing_else() {
    check(json!(["*"]), json!({}), &STRANGERS, &[]).await;
    check(json!(["*"]), json!({ "access": "accounts" }), &["http://test"], &STRANGERS).await;
}

#[tokio::test]
async fn a_session_that_was_opened_is_no_way_around() {
    let server = Server::start().await;
    let session = open_polling(&server, "").await;
    for request in [format!("POST {session}"), format!("GET {session}")] {
        assert_eq!(http_with(&server, &request, "Origin: https://evil.example\r\n", "40").await.status, 403);
    }
    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
}
