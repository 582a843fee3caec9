//! A price from the exchange's frame to every kind of client, to the digit.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::harness::{
    Launch, SocketIo, Sse, WebSocket, eventually, in_project, play, quote_over_http, recorded, started,
};

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
async fn official_clients_of_version_2_are_served_where_the_config_says_so() {
    let exchange = started().await;
    exchange.list("BTC/USD", "81413.2", "81413.30000");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    for transport in ["polling", "websocket"] {
        let mut client = SocketIo::connect_with(&ratebus.url("user-api"), "2", transport, "none");
        client.until(|line| line["refused"].is_string()).await;
    }

    let launch = Launch::new().exchange(&exchange.url()).set("plugin.broadcast.config.socketio_eio3=true");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let has = |pair: &'static str| move |map: &Value| map[pair].is_object();
    for (transport, ask) in [("polling", 81414), ("websocket", 81415), ("upgrade", 81416)] {
        let mut client = SocketIo::connect(&ratebus.url("user-api"), "2", transport);
        client.until(|map| has("BTC_USD")(map) && has("ETH_USD")(map)).await;
        exchange.tick("BTC/USD", "81413.25", &ask.to_string());
        client.until(|map| map["BTC_USD"]["original"]["buy"] == ask).await;
        client.leave().await;
    }
}

#[tokio::test]
async fn official_clients_may_have_changes_alone_and_some_pairs() {
    let exchange = started().await;
    exchange.list("BTC/USD", "81413.2", "81413.30000");
    let launch = Launch::new().exchange(&exchange.url()).set("plugin.broadcast.config.socketio_eio3=true");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let mut clients = Vec::new();
    for (version, transport) in [("2", "polling"), ("3", "upgrade"), ("4", "polling"), ("4", "websocket")] {
        let query = "rates=changes&pairs=BTC_USD,ETH_USD";
        let mut client = SocketIo::choose(&ratebus.url("user-api"), version, transport, query);
        // What had no price yet comes as a change.
        client.until(|map| map["ETH_USD"].is_object()).await;
        clients.push((version, transport, client));
    }
    exchange.tick("SOL/USD", "1", "2");
    exchange.tick("BTC/USD", "81413.25", "81414.75");
    for (version, transport, mut client) in clients {
        let line = client.until(|map| map["BTC_USD"]["original"]["buy"] == json!(81414.75)).await;
        assert!(!line.contains("ETH_USD") && !line.contains("SOL_USD"), "{version} {transport}: {line}");
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
    for recording in ["kraken/ws_v2_session_20260919.jsonl", "kraken/ws_v2_frames_2024.jsonl"] {
        let Some(frames) = recorded(recording) else { return };
        every_client_follows(&frames).await;
    }
}

#[tokio::test]
async fn generated_frames_come_out_as_they_were_sent() {
    let recording = fs::read_to_string(in_project("plugins/replay/recordings/kraken-demo.jsonl")).unwrap();
    let lines = recording.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let frames = lines.filter_map(|line| Some(line.get("frame")?.as_str()?.to_owned()));
    every_client_follows(&frames.take(60).collect::<Vec<_>>()).await;
}

/// What a ticker frame says, as its text says it.
struct Sent<'f> {
    frame: &'f str,
    symbol: &'f str,
    bid: &'f str,
    ask: &'f str,
}

impl<'f> Sent<'f> {
    fn read(frame: &'f String) -> Option<Self> {
        let text = |key: &str| frame.split_once(&format!("\"{key}\":"))?.1.split([',', '}']).next();
        let ticker = frame.contains(r#""channel":"ticker","type""#);
        ticker.then_some(Self {
            frame,
            symbol: text("symbol")?.trim_matches('"'),
            bid: text("bid")?,
            ask: text("ask")?,
        })
    }
}

/// Sends one price after the other and sees each at every kind of client before the next, to the digit.
async fn every_client_follows(frames: &[String]) {
    let sent: Vec<Sent<'_>> = frames.iter().filter_map(Sent::read).collect();
    assert!(!sent.is_empty());
    let exchange = started().await;
    for first in sent.iter().rev() {
        exchange.list(first.symbol, first.bid, first.ask);
    }
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let (mut socket, mut events) = (WebSocket::connect(&url, "").await, Sse::connect(&url).await);
    let mut official = ["3", "4"].map(|version| SocketIo::connect(&url, version, "websocket"));

    for Sent { frame, symbol, bid, ask } in sent {
        let pair = symbol.replace('/', "_");
        let shown = |quote: &Value| {
            quote["pair"] == *pair
                && quote["original"] == json!({ "buy": ask, "sell": bid })
                && quote["status"] == "fresh"
        };
        play(&exchange, frame);
        let over_http = eventually(&format!("{pair} at {bid} / {ask}"), || async {
            Some(quote_over_http(&url, &pair).await).filter(|quote| shown(quote))
        })
        .await;
        // What only repeats a price is no news, so nobody is told again.
        let version = |quote: &Value| (quote["epoch"].clone(), quote["sequence"].clone());
        socket.see(&pair, |quote| version(quote) == version(&over_http) && shown(quote)).await;
        events.see(&pair, |quote| version(quote) == version(&over_http) && shown(quote)).await;
        // As JSON numbers: the zeros at the end are no digits of the value.
        let entry = format!(r#""{pair}":{{"original":{{"buy":{},"sell":{}}}"#, json_number(ask), json_number(bid));
        for client in &mut official {
            client.see(&entry).await;
        }
    }
}

/// A price as a JSON number: the zeros at its end are no digits of the value.
fn json_number(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
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
    let first = socket.next().await;
    assert_eq!((&first["type"], &first["quotes"]), (&json!("snapshot"), &json!([])));
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
