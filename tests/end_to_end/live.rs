//! A price from the exchange's frame to every kind of client, to the digit.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use ratebus_test_exchange::DEADLINE;

use crate::harness::{Launch, SocketIo, Sse, WebSocket, play, quote_over_http, recorded, started};

const ALL_CLIENTS: [(&str, &str); 6] =
    [("3", "polling"), ("3", "websocket"), ("3", "upgrade"), ("4", "polling"), ("4", "websocket"), ("4", "upgrade")];

#[tokio::test]
async fn official_clients_get_the_map_at_once_and_then_every_change() {
    let exchange = started().await;
    exchange.list("BTC/USD", "81413.2", "81413.30000");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let has = |pair: &'static str| move |map: &Value| map[pair].is_object();

    let mut clients = Vec::new();
    for (version, transport) in ALL_CLIENTS {
        let mut client = SocketIo::connect(&url, version, transport);
        client.until(|map| has("BTC_USD")(map) && has("ETH_USD")(map)).await;
        clients.push((version, transport, client));
    }
    exchange.tick("BTC/USD", "81413.25", "81414.75");
    for (version, transport, client) in &mut clients {
        let line = client.until(|map| map["BTC_USD"]["original"]["buy"] == json!(81414.75)).await;
        assert!(line.contains(r#""original":{"buy":81414.75,"sell":81413.25}"#), "{version} {transport}: {line}");
        assert!(line.contains(r#""withSpread":{"buy":81414.75,"sell":81413.25}"#), "{version} {transport}: {line}");
        assert!(line.contains(r#""currentSpread":{"buy":0,"sell":0}"#), "{version} {transport}: {line}");
        assert!(line.contains(r#""ETH_USD":"#), "the whole map in each event: {line}");
    }
    for (_, _, client) in clients {
        client.leave().await;
    }
}

#[tokio::test]
async fn every_transport_shows_the_same_quote_to_the_digit() {
    let exchange = started().await;
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");

    let (mut socket, mut events) = (WebSocket::connect(&url, "?pairs=DOGE_USD").await, Sse::connect(&url).await);
    exchange.tick("DOGE/USD", "0.1234560", "0.1234599");
    let moved = |quote: &Value| quote["original"]["buy"] == "0.1234599";
    let over_socket = socket.until("DOGE_USD", moved).await;
    let over_events = events.until("DOGE_USD", moved).await;
    assert_eq!(over_socket, over_events);
    assert_eq!(over_socket["original"]["sell"], "0.1234560");
    assert_eq!(over_socket["customer"]["buy"], "0.1234599");
    assert_eq!(over_socket["status"], "fresh");

    let mut over_http = quote_over_http(&url, "DOGE_USD").await;
    let ages = ["ageMs", "feedAgeMs"].map(|age| over_http.as_object_mut().unwrap().remove(age));
    assert!(ages.iter().all(|age| age.as_ref().is_some_and(Value::is_u64)), "{ages:?}");
    assert_eq!(over_http, over_socket);
}

#[tokio::test]
async fn recorded_frames_come_out_as_they_were_sent() {
    let Some(frames) = recorded("kraken/ws_v2_session_20260919.jsonl") else { return };
    let exchange = started().await;
    exchange.list("BTC/USD", "81400.1", "81400.2");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let mut socket = WebSocket::connect(&ratebus.url("user-api"), "?pairs=BTC_USD").await;
    exchange.wait_subscribed(&["BTC/USD"], DEADLINE).await;
    socket.until("BTC_USD", |quote| quote["status"] == "fresh").await;
    let mut prices = Vec::new();
    for frame in frames.iter().filter(|frame| frame.contains(r#""channel":"ticker","type""#)) {
        play(&exchange, frame);
        let text = |key: &str| {
            let rest = frame.split_once(&format!("\"{key}\":")).unwrap().1;
            rest.split(',').next().unwrap().to_owned()
        };
        prices.push((text("bid"), text("ask")));
    }
    assert!(!prices.is_empty());
    let (bid, ask) = prices.last().unwrap();
    let last = socket.until("BTC_USD", |quote| quote["original"]["buy"] == **ask).await;
    assert_eq!(last["original"]["sell"], **bid);
    assert_eq!(last["status"], "fresh");
}

#[tokio::test]
async fn two_roles_in_one_process_share_no_port() {
    let exchange = started().await;
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("exchange-rate").await;
    let raw = quote_over_http(&ratebus.url("exchange-rate"), "BTC_USD").await;
    assert_eq!(raw["original"]["buy"], "20249.00000");
    assert!(raw.get("customer").is_none(), "{raw}");
}

#[tokio::test]
async fn a_socket_subscribes_and_unsubscribes_pair_by_pair() {
    let exchange = started().await;
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let mut socket = WebSocket::connect(&ratebus.url("user-api"), "?pairs=").await;
    assert_eq!(socket.next().await, json!({ "type": "snapshot", "quotes": [] }));
    socket.send(r#"{"op":"subscribe","pairs":["ETH/USD","XBT/USD","NOPE_USD"],"id":1}"#).await;
    let mut frames = vec![socket.next().await, socket.next().await, socket.next().await];
    frames.sort_by_key(|frame| frame["type"].to_string());
    assert_eq!(frames[0]["error"]["status"], 404, "a pair nobody has is named: {frames:?}");
    assert!(frames[0].to_string().contains("NOPE_USD"), "{frames:?}");
    let quotes = frames[1]["quotes"].as_array().unwrap();
    let pairs: BTreeSet<&str> = quotes.iter().filter_map(|quote| quote["pair"].as_str()).collect();
    assert_eq!(pairs, BTreeSet::from(["BTC_USD", "ETH_USD"]));
    assert_eq!((&frames[2]["pairs"], &frames[2]["id"]), (&json!(["BTC_USD", "ETH_USD"]), &json!(1)));
    socket.send(r#"{"op":"unsubscribe","pairs":["BTC_USD"],"id":"two"}"#).await;
    assert_eq!(socket.next().await, json!({ "type": "subscribed", "pairs": ["ETH_USD"], "id": "two" }));
    exchange.tick("BTC/USD", "20300.1", "20300.2");
    exchange.tick("ETH/USD", "2651.01", "2651.02");
    assert_eq!(socket.next().await["quote"]["pair"], "ETH_USD");
}
