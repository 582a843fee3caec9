//! Clients that take nothing, or nothing for a while. The buffers of the sockets are small, so that they are felt soon.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    clients::{Sio, Sse, Ws},
    quotes::quote,
    server::{DEADLINE, Server},
};

const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// More than the buffers of both ends of a connection hold.
const MANY: u64 = 600;

/// Publishes one quote after the other, each as soon as `client` has the one before.
async fn in_step(server: &Server, client: &mut Ws, sequences: RangeInclusive<u64>) {
    for sequence in sequences {
        server.publish(quote("BTC_USD", sequence));
        assert_eq!(client.quote().await["sequence"], sequence);
    }
}

/// Goes on publishing in step with `client` until `done`, and a little longer.
async fn in_step_until(server: &Server, client: &mut Ws, done: impl Fn() -> bool) {
    let mut sequence = 1;
    let publishing = async {
        while !done() {
            in_step(server, client, sequence + 1..=sequence + 100).await;
            sequence += 100;
        }
        in_step(server, client, sequence + 1..=sequence + 100).await;
    };
    timeout(DEADLINE, publishing).await.expect("done in time");
}

#[tokio::test]
async fn who_reads_again_gets_the_newest_quote_of_each_pair() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 1)]).await;
    let (mut reading, _) = Ws::open(&server).await;
    let (mut paused, _) = Ws::open(&server).await;
    server.publish(quote("ETH_USD", 2));
    assert_eq!(reading.quote().await["pair"], "ETH_USD");
    in_step(&server, &mut reading, 2..=MANY).await;

    let (mut received, mut last) = (0, 0);
    while last < MANY {
        let quote = paused.quote().await;
        if quote["pair"] == "BTC_USD" {
            assert!(quote["sequence"].as_u64().unwrap() > last);
            last = quote["sequence"].as_u64().unwrap();
        }
        received += 1;
    }
    assert!(received < MANY / 2, "{received} of {MANY}");
    let conflated = server.metric("ratebus_conflated_total{transport=\"websocket\"}");
    assert_eq!(conflated, MANY - received);
}

#[tokio::test]
async fn who_takes_nothing_is_closed_and_nobody_else_notices() {
    let server = Server::start_with(json!({ "stall_timeout": "200ms" }), [quote("BTC_USD", 1)]).await;
    let (mut reading, _) = Ws::open(&server).await;
    let (_stuck, _) = Ws::open(&server).await;
    let stalled = "ratebus_clients_closed_total{transport=\"websocket\",reason=\"stalled\"}";
    in_step_until(&server, &mut reading, || server.metric(stalled) == 1).await;
    assert_eq!(server.metric("ratebus_clients{transport=\"websocket\"}"), 1);
}

/// These two depend on the listener's TCP user timeout.
#[tokio::test]
async fn stuck_streams_and_sockets_are_closed_by_the_listener() {
    let before = [quote("BTC_USD", 1)];
    let server = Server::start_on(USER_TIMEOUT, json!({ "stall_timeout": "200ms" }), before).await;
    let (mut reading, _) = Ws::open(&server).await;
    let (_stream, _) = Sse::open(&server).await;
    let (_socket, _) = Sio::open(&server).await;
    let clients = |transport: &str| server.metric(&format!("ratebus_clients{{transport=\"{transport}\"}}"));
    in_step_until(&server, &mut reading, || clients("sse") + clients("socketio") == 0).await;
    server.wait_for_metric("ratebus_clients_closed_total{transport=\"sse\",reason=\"stalled\"}", 1).await;
}

#[tokio::test]
async fn a_paused_socket_gets_the_newest_map() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut reading, _) = Ws::open(&server).await;
    let (mut paused, _) = Sio::open(&server).await;
    let updated = |map: &Value| map["BTC_USD"]["updatedAt"].as_str().unwrap().to_owned();
    in_step(&server, &mut reading, 2..=MANY - 1).await;
    let last = quote("BTC_USD", MANY);
    let expected = last.published_time.to_string();
    server.publish(last);
    let mut received = 1;
    while updated(&paused.map().await) != expected {
        received += 1;
    }
    assert!(received < MANY, "{received} of {MANY}");
}
