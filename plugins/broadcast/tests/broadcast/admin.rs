//! What administrators see of the clients.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clients::{Answer, Sio, Sse, Ws, http, http_with},
    quotes::quote,
    server::Server,
};

const HOUR: Duration = Duration::from_hours(1);

async fn asked(server: &Server, query: &str, token: &str) -> Answer {
    let header = format!("Authorization: Bearer {token}\r\n");
    http_with(server, &format!("GET /v1/admin/clients{query}"), &header, "").await
}

async fn shown(server: &Server, query: &str) -> Value {
    server.logins.add("root", "of-root", HOUR);
    let answer = asked(server, query, "of-root").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn only_administrators_see_who_is_connected() {
    let server = Server::start().await;
    server.logins.add("ann", "of-ann", HOUR);
    server.logins.add("root", "of-root", HOUR);
    let nobody = http(&server, "GET /v1/admin/clients", "").await;
    assert!(nobody.status == 401 && nobody.head.contains("www-authenticate: bearer"), "{nobody:?}");
    for (token, status) in [("x", 401), ("of-ann", 403), ("of-root", 200)] {
        assert_eq!(asked(&server, "", token).await.status, status, "{token}");
    }
    server.logins.set_away(true);
    let unknown = asked(&server, "", "of-root").await;
    assert!(unknown.status == 503 && unknown.head.contains("retry-after"), "{unknown:?}");
}

#[tokio::test]
async fn everybody_is_there_whatever_they_speak() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (_websocket, _) = Ws::open(&server).await;
    let (_stream, _) = Sse::open(&server).await;
    let (socket, _) = Sio::open(&server).await;
    assert_eq!(http(&server, "GET /socket.io/?EIO=4&transport=polling", "").await.status, 200);
    let all = shown(&server, "").await;
    assert_eq!(all["connected"], 4);
    let clients = all["clients"].as_array().unwrap();
    let mut transports: Vec<_> = clients.iter().map(|client| client["transport"].as_str().unwrap()).collect();
    transports.sort_unstable();
    assert_eq!(transports, ["socketio", "socketio", "sse", "websocket"]);
    for client in clients {
        assert_eq!((&client["address"], &client["behindMs"]), (&json!("127.0.0.1"), &json!(0)), "{client}");
        assert!(client["connectedSince"].as_str().unwrap().ends_with('Z'), "{client}");
    }
    assert!(clients.iter().filter(|client| client["deliveries"] == 1).count() >= 3, "{all}");
    assert_eq!(shown(&server, "?limit=3").await["clients"].as_array().unwrap().len(), 3);
    drop(socket);
    server.wait_for_metric("ratebus_clients{transport=\"socketio\"}", 1).await;
    assert_eq!(shown(&server, "").await["connected"], 3);
    for query in ["?limit=0", "?limit=101", "?limit=x", "?limit=-1", "?more=1"] {
        let refused = asked(&server, query, "of-root").await;
        assert!(refused.status == 422 && refused.body.contains(r#""field":"limit""#), "{query}: {refused:?}");
    }
}

#[tokio::test]
async fn who_takes_nothing_comes_first() {
    let server = Server::start_with(json!({}), [quote("BTC_USD", 1)]).await;
    let (mut reading, _) = Ws::open(&server).await;
    let (_stuck, _) = Ws::open(&server).await;
    let (_stream, _) = Sse::open(&server).await;
    let mut sequence = 1;
    // Until the sockets of both are full, and a moment has passed.
    let slow = loop {
        assert!(sequence < 100_000, "both are slow by now");
        for _ in 0..100 {
            sequence += 1;
            server.publish(quote("BTC_USD", sequence));
            assert_eq!(reading.quote().await["sequence"], sequence);
        }
        let clients = shown(&server, "?limit=2").await["clients"].take();
        let is_slow = |client: &Value| client["pendingBytes"] != 0 && client["stalledMs"] != 0;
        if clients.as_array().unwrap().iter().all(is_slow) {
            break clients;
        }
    };
    let mut transports = [0, 1].map(|index| slow[index]["transport"].as_str().unwrap());
    transports.sort_unstable();
    assert_eq!(transports, ["sse", "websocket"]);
    let websocket = slow.as_array().unwrap().iter().find(|client| client["transport"] == "websocket").unwrap();
    assert!(websocket["behindMs"].as_u64() >= websocket["stalledMs"].as_u64(), "{websocket}");
    assert!(websocket["deliveries"].as_u64().unwrap() < sequence, "{websocket}");
}
