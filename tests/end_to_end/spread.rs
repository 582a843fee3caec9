//! An administrator's spread: at once, everywhere, and for good.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Admin, Launch, SocketIo, Sse, WebSocket, quote_over_http, started};

const CLIENTS: usize = 100;

#[tokio::test]
async fn a_change_reaches_a_hundred_clients_of_each_transport_without_a_tick() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.10", "20000.20");
    let launch = Launch::new().exchange(&exchange.url());
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");

    let mut socketio: Vec<(&str, SocketIo)> = ["polling", "websocket"]
        .map(|transport| (transport, SocketIo::connect_many(&url, CLIENTS, transport)))
        .into_iter()
        .collect();
    for (_, clients) in &mut socketio {
        all_clients(clients, |map| map["BTC_USD"].is_object()).await;
    }
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (mut socket, mut stream) = (WebSocket::connect(&url, "").await, Sse::connect(&url).await);
        socket.until("BTC_USD", |_| true).await;
        stream.until("BTC_USD", |_| true).await;
        sockets.push(socket);
        streams.push(stream);
    }
    let admin = Admin::login(&ratebus).await;
    exchange.heartbeats(None);

    let changed = Instant::now();
    admin.set_spread("BTC_USD", "12.345", "7.5").await;
    let is_new = |quote: &Value| {
        quote["customer"] == json!({ "buy": "20012.55", "sell": "19992.60" }) && quote["rule"]["scope"] == "BTC_USD"
    };
    for socket in &mut sockets {
        socket.until("BTC_USD", is_new).await;
    }
    for stream in &mut streams {
        stream.until("BTC_USD", is_new).await;
    }
    for (_, clients) in &mut socketio {
        all_clients(clients, |map| map["BTC_USD"]["withSpread"] == json!({ "buy": 20012.55, "sell": 19992.6 })).await;
    }
    println!("{} clients had the new spread after {:?}", 4 * CLIENTS, changed.elapsed());
}

/// Waits until each of the clients has seen an event that is `wanted`.
async fn all_clients(clients: &mut SocketIo, wanted: impl Fn(&Value) -> bool) {
    let mut seen = [false; CLIENTS];
    while seen.contains(&false) {
        let line: Value = serde_json::from_str(&clients.next().await).unwrap();
        if wanted(&line["event"]) {
            seen[usize::try_from(line["client"].as_u64().unwrap()).unwrap()] = true;
        }
    }
}

#[tokio::test]
async fn an_acknowledged_spread_survives_being_killed() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.10", "20000.20");
    let launch = Launch::new().exchange(&exchange.url());
    Admin::create(&launch).await;
    for round in 1..=3_u32 {
        let ratebus = launch.start().await;
        ratebus.ready("user-api").await;
        let admin = Admin::login(&ratebus).await;
        let before = admin.send(Method::GET, "/v1/spreads/BTC_USD", Value::Null).await;
        assert_eq!(before.status(), if round == 1 { 404 } else { 200 });
        if round > 1 {
            assert_eq!(before.headers()["etag"], format!("\"{}\"", round - 1));
        }
        admin.set_spread("BTC_USD", &format!("{round}00"), "0").await;
        ratebus.signal("KILL");
        ratebus.exited().await;
    }
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let quote = quote_over_http(&ratebus.url("user-api"), "BTC_USD").await;
    assert_eq!(quote["customer"]["buy"], "20300.20");
    assert_eq!(quote["rule"], json!({ "scope": "BTC_USD", "revision": 3 }));
}

#[tokio::test]
async fn logout_revokes_and_only_admins_set_spreads() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.10", "20000.20");
    let launch = Launch::new().exchange(&exchange.url());
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let admin = Admin::login(&ratebus).await;
    admin.set_spread("BTC_USD", "1", "1").await;
    assert_eq!(admin.send(Method::DELETE, "/logout", Value::Null).await.status(), 200);
    let body = json!({ "buy": { "value": "9" }, "sell": { "value": "9" } });
    assert_eq!(admin.send(Method::PUT, "/v1/spreads/BTC_USD", body).await.status(), 401);
    let again = admin.send(Method::DELETE, "/logout", Value::Null).await;
    assert_eq!(again.status(), 400);
    assert_eq!(quote_over_http(&ratebus.url("user-api"), "BTC_USD").await["customer"]["buy"], "20001.20");
}
