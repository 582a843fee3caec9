//! What Socket.IO clients choose of `rates:live`: changes alone, and pairs.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    clients::{POLLING, Sio, event, http, open_polling},
    quotes::{dead, pairs, quote, respread, withheld},
    server::Server,
};

const CHANGES: &str = "&rates=changes";

fn names(map: &Value) -> Vec<&str> {
    map.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn changes_alone_come_pair_by_pair() {
    let before = [quote("BTC_USD", 1), withheld("ETH_USD", 1)];
    let server = Server::start_with(json!({}), before).await;
    let (mut client, map) = Sio::open_with(&server, CHANGES).await;
    assert_eq!(names(&map), ["BTC_USD"]);
    server.publish(quote("SOL_USD", 1));
    let map = client.map().await;
    assert_eq!((names(&map), &map["SOL_USD"]["withSpread"]["buy"]), (vec!["SOL_USD"], &json!(102)));
    // Who never had a price of the pair is not told again and again that there is none.
    server.publish(withheld("ETH_USD", 2));
    server.publish(dead("BTC_USD", 2));
    assert_eq!(client.map().await, json!({ "BTC_USD": null }));
    server.publish(dead("BTC_USD", 3));
    server.publish(respread("BTC_USD", 4, "150.25"));
    assert_eq!(client.map().await["BTC_USD"]["currentSpread"]["buy"], 49.25);
}

#[tokio::test]
async fn changes_that_come_together_leave_together() {
    const PAIRS: [&str; 8] = ["A1_USD", "A2_USD", "A3_USD", "A4_USD", "A5_USD", "A6_USD", "A7_USD", "A8_USD"];
    let server = Server::start_with(json!({}), PAIRS.map(|pair| quote(pair, 1))).await;
    let mut clients = join_all((0..10).map(|_| Sio::open_with(&server, CHANGES))).await;
    assert_eq!(names(&clients[0].1), PAIRS);
    for pair in PAIRS {
        server.publish(quote(pair, 2));
    }
    for (client, _) in &mut clients {
        for pair in PAIRS {
            assert_eq!(names(&client.map().await), [pair]);
        }
    }
    let metric = |name: &str| server.metric(&format!("ratebus_{name}_total{{transport=\"socketio\"}}"));
    assert_eq!((metric("deliveries"), metric("joined"), metric("conflated")), (10 * 9, 10 * 8, 0));
    // Encoded once for all of them.
    assert_eq!(server.metric("ratebus_encodes_total{encoding=\"live_entry\"}"), 16);
    assert_eq!(server.metric("ratebus_encodes_total{encoding=\"live_map\"}"), 1);
}

#[tokio::test]
async fn changes_are_packets_of_their_own_when_polled() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let session = open_polling(&server, CHANGES).await;
    assert_eq!(http(&server, &format!("POST {session}"), "40").await.body, "ok");
    let mut packets = Vec::new();
    while packets.len() < 2 {
        let answer = http(&server, &format!("GET {session}"), "").await;
        packets.extend(answer.body.split('\u{1e}').map(str::to_owned));
    }
    assert_eq!(names(&event(&packets[1])), ["BTC_USD"]);
    for pair in ["ETH_USD", "SOL_USD"] {
        server.publish(quote(pair, 1));
        server
            .wait_for_metric("ratebus_encodes_total{encoding=\"live_entry\"}", if pair == "ETH_USD" { 2 } else { 3 })
            .await;
    }
    let mut maps = Vec::new();
    while maps.len() < 2 {
        let answer = http(&server, &format!("GET {session}"), "").await;
        maps.extend(answer.body.split('\u{1e}').map(event));
    }
    assert_eq!(maps.iter().map(names).collect::<Vec<_>>(), [["ETH_USD"], ["SOL_USD"]]);
}

#[tokio::test]
async fn the_config_says_what_those_get_who_do_not_ask() {
    let before = [quote("BTC_USD", 1), quote("ETH_USD", 1)];
    let server = Server::start_with(json!({ "socketio_rates": "changes" }), before).await;
    let (mut plain, _) = Sio::open(&server).await;
    let (mut whole, _) = Sio::open_with(&server, "&rates=map").await;
    server.publish(quote("BTC_USD", 2));
    assert_eq!(names(&plain.map().await), ["BTC_USD"]);
    assert_eq!(names(&whole.map().await), ["BTC_USD", "ETH_USD"]);
    let refused = http(&server, &format!("GET {POLLING}&rates=all"), "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("rates: ") && refused.body.contains("changes"), "{}", refused.body);
}

#[tokio::test]
async fn who_chooses_pairs_gets_no_others() {
    let before = ["BTC_USD", "ETH_USD", "SOL_USD"].map(|pair| quote(pair, 1));
    let server = Server::start_with(json!({}), before).await;
    let (mut maps, map) = Sio::open_with(&server, "&pairs=BTC_USD,ETH_USD").await;
    assert_eq!(names(&map), ["BTC_USD", "ETH_USD"]);
    let (mut changes, map) = Sio::open_with(&server, "&rates=changes&pairs=ETH_USD").await;
    assert_eq!(names(&map), ["ETH_USD"]);
    let (mut nothing, map) = Sio::open_with(&server, "&pairs=").await;
    assert_eq!(map, json!({}));
    server.publish(quote("SOL_USD", 2));
    server.publish(respread("ETH_USD", 2, "150.25"));
    let map = maps.map().await;
    assert_eq!(names(&map), ["BTC_USD", "ETH_USD"]);
    assert_eq!(map["ETH_USD"]["withSpread"]["buy"], 150.25);
    assert_eq!(names(&changes.map().await), ["ETH_USD"]);
    server.publish(dead("ETH_USD", 3));
    assert_eq!(names(&maps.map().await), ["BTC_USD"]);
    assert_eq!(changes.map().await, json!({ "ETH_USD": null }));
    assert_eq!(nothing.emit(&json!(["subscribe", { "pairs": ["BTC_USD"] }])).await, json!({ "pairs": ["BTC_USD"] }));
    assert_eq!(names(&nothing.map().await), ["BTC_USD"]);
}

#[tokio::test]
async fn clients_join_and_leave_pairs() {
    let before = ["BTC_USD", "ETH_USD", "SOL_USD"].map(|pair| quote(pair, 1));
    for rates in ["", CHANGES] {
        let server = Server::start_with(json!({}), before.clone()).await;
        let (mut client, _) = Sio::open_with(&server, rates).await;
        let all = json!({ "pairs": ["BTC_USD", "ETH_USD", "SOL_USD"], "patterns": [">"] });
        assert_eq!(client.emit(&json!(["subscribe", { "pairs": ["btc/usd"] }])).await, all);
        let rest = client.emit(&json!(["unsubscribe", { "pairs": ["BTC_USD", "SOL_USD"] }])).await;
        assert_eq!(rest, json!({ "pairs": ["ETH_USD"] }));
        if rates.is_empty() {
            assert_eq!(names(&client.map().await), ["ETH_USD"]);
        }
        server.publish(quote("BTC_USD", 2));
        server.publish(quote("ETH_USD", 2));
        assert_eq!(names(&client.map().await), ["ETH_USD"]);
        let more = client.emit(&json!(["subscribe", { "pairs": ["SOL_USD", "LTC_USD"] }])).await;
        assert_eq!(more["pairs"], json!(["ETH_USD", "SOL_USD"]));
        assert_eq!(
            (&more["error"]["status"], &more["error"]["detail"]),
            (&json!(404), &json!("Nobody serves LTC_USD."))
        );
        assert_eq!(names(&client.map().await), ["ETH_USD", "SOL_USD"]);
        for event in [json!(["subscribe"]), json!(["subscribe", ["BTC_USD"]]), json!(["unsubscribe", { "pairs": 7 }])] {
            let answer = client.emit(&event).await;
            assert_eq!((answer.get("pairs"), &answer["error"]["status"]), (None, &json!(400)), "{event}");
        }
    }
}

#[tokio::test]
async fn who_wants_what_nobody_serves_may_come_again() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let mut client = Sio::to(&server, "&pairs=BTC_USD,ETH_USD").await;
    client.0.send("40").await;
    let refusal = client.packet().await;
    let refusal: Value = serde_json::from_str(refusal.strip_prefix("44").unwrap()).unwrap();
    assert_eq!((&refusal["message"], &refusal["data"]["status"]), (&json!("Nobody serves ETH_USD."), &json!(404)));
    server.serve_pairs(pairs(&["ETH_USD"]));
    server.publish(quote("ETH_USD", 1));
    server.wait_for_metric("ratebus_encodes_total{encoding=\"live_entry\"}", 2).await;
    client.0.send("40").await;
    assert!(client.packet().await.starts_with("40{\"sid\":"));
    assert_eq!(names(&client.map().await), ["BTC_USD", "ETH_USD"]);
}
