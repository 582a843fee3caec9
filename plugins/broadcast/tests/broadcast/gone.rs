//! Pairs that nothing prices any more.

use serde_json::{Value, json};

use crate::{
    clients::{Sio, Sse, Ws},
    quotes::{dead, quote},
    server::Server,
};

#[tokio::test]
async fn everybody_is_told_once_and_then_the_pair_is_not_there() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1), quote("ETH_USD", 7)]).await;
    let (mut ws, _) = Ws::open(&server).await;
    let (mut sse, _) = Sse::open(&server).await;
    let (mut sio, _) = Sio::open(&server).await;
    let mut one = Ws::to(&server, "/v1/ws?pairs=ETH_USD").await;
    assert_eq!(one.next().await["quotes"][0]["pair"], "ETH_USD");

    server.end("ETH_USD");
    let is_last = |quote: Value| {
        assert_eq!((&quote["pair"], &quote["status"]), (&json!("ETH_USD"), &json!("dead")), "{quote}");
        assert_eq!((&quote["withheld"], &quote["sequence"]), (&json!("not_served"), &json!(8)), "{quote}");
        assert!(quote["original"].is_null() && quote["customer"].is_null(), "{quote}");
    };
    is_last(ws.quote().await);
    is_last(sse.quote().await);
    is_last(one.quote().await);
    assert_eq!(sio.map().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["BTC_USD"]);

    let (mut late, snapshot) = Ws::open(&server).await;
    let pairs = |snapshot: &Value| {
        let quotes = snapshot["quotes"].as_array().unwrap();
        quotes.iter().map(|quote| quote["pair"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&snapshot), ["BTC_USD"]);
    assert_eq!(pairs(&Sse::open(&server).await.1), ["BTC_USD"]);
    let refused = late.ask(json!({ "op": "subscribe", "pairs": ["ETH_USD"] })).await;
    assert_eq!((&refused["type"], &refused["error"]["status"]), (&json!("error"), &json!(404)), "{refused}");

    // Twice the same end, and a dead quote that comes late, are no news.
    server.end("ETH_USD");
    server.publish(dead("ETH_USD", 7));
    server.publish(quote("ETH_USD", 9));
    for quote in [ws.quote().await, sse.quote().await, one.quote().await] {
        assert_eq!((&quote["pair"], &quote["sequence"]), (&json!("ETH_USD"), &json!(9)), "{quote}");
    }
    assert_eq!(sio.map().await.as_object().unwrap().len(), 2);
}
