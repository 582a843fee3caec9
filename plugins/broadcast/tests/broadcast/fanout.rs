use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use futures_util::future::join_all;
use ratebus_model::Limits;
use serde_json::json;

use crate::{
    clients::{Sio, Sse, Ws, http},
    quotes::{quote, respread},
    server::Server,
};

const ENCODES: [&str; 3] = ["quote", "live_entry", "live_map"];

fn encodes(server: &Server, encoding: &str) -> u64 {
    server.metric(&format!("ratebus_encodes_total{{encoding=\"{encoding}\"}}"))
}

#[tokio::test]
async fn a_quote_is_encoded_once_for_everybody() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let mut websockets = join_all((0..20).map(|_| Ws::open(&server))).await;
    let mut streams = join_all((0..10).map(|_| Sse::open(&server))).await;
    let mut sockets = join_all((0..20).map(|_| Sio::open(&server))).await;
    assert_eq!(ENCODES.map(|encoding| encodes(&server, encoding)), [1, 1, 1]);
    for sequence in 2..=20 {
        server.publish(quote("BTC_USD", sequence));
        for (client, _) in &mut websockets {
            assert_eq!(client.quote().await["sequence"], sequence);
        }
        for (client, _) in &mut streams {
            assert_eq!(client.quote().await["sequence"], sequence);
        }
        for (client, _) in &mut sockets {
            assert_eq!(client.map().await["BTC_USD"]["withSpread"]["buy"], 102);
        }
        assert_eq!(ENCODES.map(|encoding| encodes(&server, encoding)), [sequence; 3]);
    }
    // Once more without a change.
    server.publish(quote("BTC_USD", 20));
    server.publish(quote("BTC_USD", 21));
    assert_eq!(websockets[0].0.quote().await["sequence"], 21);
    assert_eq!(encodes(&server, "quote"), 21);
    assert_eq!(server.metric("ratebus_conflated_total{transport=\"websocket\"}"), 0);
    assert_eq!(server.metric("ratebus_deliveries_total{transport=\"sse\"}"), 10 * 21);
}

#[tokio::test]
async fn a_new_spread_reaches_everybody_without_a_tick() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let mut websockets = join_all((0..100).map(|_| Ws::open(&server))).await;
    let mut streams = join_all((0..100).map(|_| Sse::open(&server))).await;
    let mut sockets = join_all((0..100).map(|_| Sio::open(&server))).await;
    for transport in ["websocket", "sse", "socketio"] {
        assert_eq!(server.metric(&format!("ratebus_clients{{transport=\"{transport}\"}}")), 100);
    }
    server.publish(respread("BTC_USD", 2, "150.25"));
    for (client, _) in &mut websockets {
        assert_eq!(client.quote().await["customer"]["buy"], "150.25");
    }
    for (client, _) in &mut streams {
        assert_eq!(client.quote().await["customer"]["buy"], "150.25");
    }
    for (client, _) in &mut sockets {
        assert_eq!(client.map().await["BTC_USD"]["currentSpread"]["buy"], 49.25);
    }
}

/// Clients that come while quotes are published see each pair's sequence grow, from the snapshot on, to the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_gap_or_a_step_back() {
    const PAIRS: [&str; 3] = ["BTC_USD", "ETH_USD", "SOL_USD"];
    const LAST: u64 = 300;
    let server = Server::start_with(json!({}), PAIRS.map(|pair| quote(pair, 1))).await;
    let publish = async {
        for sequence in 2..=LAST {
            for pair in PAIRS {
                server.publish(quote(pair, sequence));
            }
            tokio::task::yield_now().await;
        }
    };
    let follow = |index: usize| {
        let server = &server;
        async move {
            for _ in 0..index * 20 {
                tokio::task::yield_now().await;
            }
            let mut seen = HashMap::new();
            let take = |quote: &serde_json::Value, seen: &mut HashMap<String, u64>| {
                let sequence = quote["sequence"].as_u64().unwrap();
                let before = seen.insert(quote["pair"].as_str().unwrap().to_owned(), sequence);
                assert!(before.is_none_or(|before| before < sequence), "{sequence} after {before:?}");
                seen.values().all(|&sequence| sequence == LAST)
            };
            if index.is_multiple_of(2) {
                let (mut client, snapshot) = Ws::open(server).await;
                let quotes = snapshot["quotes"].as_array().unwrap();
                assert_eq!(quotes.len(), PAIRS.len());
                let mut done = quotes.iter().map(|quote| take(quote, &mut seen)).last().unwrap();
                while !done {
                    done = take(&client.quote().await, &mut seen);
                }
            } else {
                let (mut client, snapshot) = Sse::open(server).await;
                let quotes = snapshot["quotes"].as_array().unwrap();
                let mut done = quotes.iter().map(|quote| take(quote, &mut seen)).last().unwrap();
                while !done {
                    done = take(&client.quote().await, &mut seen);
                }
            }
        }
    };
    tokio::join!(publish, join_all((0..20).map(follow)));
}

#[tokio::test]
async fn a_snapshot_of_very_many_pairs_comes_in_parts() {
    let quotes = (0..150).map(|n| quote(&format!("A{n}_USD"), 1));
    let server = Server::start_with(json!({}), quotes).await;
    let mut client = Ws::to(&server, "/v1/ws").await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let part = client.next().await;
        assert_eq!(part["type"], "snapshot");
        sizes.push(part["quotes"].as_array().unwrap().len());
    }
    assert_eq!(sizes, [64, 64, 22]);
    // And all of them at once are not lost either.
    for n in 0..150 {
        server.publish(quote(&format!("A{n}_USD"), 2));
    }
    for n in 0..150 {
        assert_eq!(client.quote().await["pair"], format!("A{n}_USD"));
    }
}

#[tokio::test]
async fn a_stop_is_told_to_everybody() {
    let mut server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut websocket, _) = Ws::open(&server).await;
    let (mut stream, _) = Sse::open(&server).await;
    let (mut socket, _) = Sio::open(&server).await;
    server.cancel();
    let (code, word, _) = tokio::join!(websocket.close_code(), stream.block(), socket.0.close_code());
    let wait: u64 = word.unwrap().trim().strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((500..=5000).contains(&wait), "{wait}");
    assert_eq!((code, stream.block().await), (1012, None));
    drop((websocket, stream, socket));
    server.stopped().await;
    for transport in ["websocket", "sse", "socketio"] {
        server.wait_for_metric(&format!("ratebus_clients{{transport=\"{transport}\"}}"), 0).await;
    }
    assert_eq!(http(&server, "GET /v1/rates/stream", "").await.status, 503);
}

/// The next run has clients and a board of its own.
#[tokio::test]
async fn no_client_outlives_a_run_that_breaks_off() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut websocket, _) = Ws::open(&server).await;
    let (mut stream, _) = Sse::open(&server).await;
    let (mut socket, _) = Sio::open(&server).await;
    server.break_off();
    let (code, word, _) = tokio::join!(websocket.close_code(), stream.block(), socket.0.close_code());
    assert!(word.unwrap().starts_with("retry: "));
    assert_eq!((code, stream.block().await), (1012, None));
    assert_eq!(http(&server, "GET /v1/rates/stream", "").await.status, 503);
}

/// The publisher of quotes says when they age. Should it be gone, who has them is told, once each time.
#[tokio::test(start_paused = true)]
async fn who_has_a_quote_is_told_when_it_ages() {
    let mut quiet = quote("BTC_USD", 7);
    // Before anybody is asked whether they are there.
    quiet.limits = Limits { stale_after: Duration::from_secs(3), dead_after: Duration::from_secs(6) };
    let server = Server::start_with(json!({}), [quiet]).await;
    let (mut websocket, _) = Ws::open(&server).await;
    let (mut changes, _) = Sio::open_with(&server, "&rates=changes").await;
    let (mut socket, _) = Sio::open(&server).await;
    for status in ["stale", "dead"] {
        let (mut stream, _) = Sse::open(&server).await;
        let told = websocket.next().await;
        assert_eq!((&told["type"], &told["status"], &told["sequence"]), (&json!("status"), &json!(status), &json!(7)));
        let (map, change) = (socket.map().await, changes.map().await);
        let entry = if status == "dead" { json!(null) } else { json!(status) };
        assert_eq!((&map["BTC_USD"]["status"], &change["BTC_USD"]["status"]), (&entry, &entry));
        let (_, event) = stream.event("status").await;
        assert_eq!((&event["status"], &event["sequence"]), (&json!(status), &json!(7)));
    }
    // Who was sent the quote itself goes on with the next one.
    server.publish(quote("BTC_USD", 8));
    assert_eq!(websocket.quote().await["sequence"], 8);
}

/// And who connects then is told the truth.
#[tokio::test(start_paused = true)]
async fn who_connects_is_told_how_old_a_quote_is() {
    let mut quiet = quote("BTC_USD", 1);
    quiet.limits = Limits::STREAM;
    let server = Server::start_with(json!({}), [quiet]).await;
    for (seconds, status) in [(0, "fresh"), (12, "stale"), (60, "dead")] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (_, snapshot) = Ws::open(&server).await;
        assert_eq!(snapshot["quotes"][0]["status"], status);
        assert_eq!(snapshot["quotes"][0]["original"].is_null(), status == "dead");
        let (_, map) = Sio::open(&server).await;
        assert_eq!(map.as_object().unwrap().is_empty(), status == "dead", "{map}");
    }
}

/// Prices go on until somebody's turn has come.
#[tokio::test(start_paused = true)]
async fn many_are_sent_away_one_after_the_other() {
    const CLIENTS: usize = 50;
    let mut server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut streams, mut websockets) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        streams.push(Sse::open(&server).await.0);
        websockets.push(Ws::open(&server).await.0);
    }
    let start = tokio::time::Instant::now();
    server.cancel();
    let told_at = |block: Option<String>| {
        assert!(block.is_some_and(|block| block.starts_with("retry: ")));
        start.elapsed()
    };
    let streams = join_all(streams.iter_mut().map(async |stream| told_at(stream.block().await)));
    let websockets = join_all(websockets.iter_mut().map(async |client| {
        assert_eq!(client.close_code().await, 1012);
        start.elapsed()
    }));
    let (streams, websockets) = tokio::join!(streams, websockets);
    for told in [streams, websockets] {
        let times: BTreeSet<_> = told.iter().map(Duration::as_millis).collect();
        assert!(times.len() > CLIENTS / 10, "{times:?}");
    }
    server.stopped().await;
}
