//! `docs/asyncapi.json` says what is really sent and taken.

use std::{collections::BTreeSet, time::Duration};

use ratebus_model::Limits;
use serde_json::{Value, json};

use crate::{
    clients::{Sio, Sse, Ws, connect},
    quotes::{dead, pairs, quote, withheld},
    server::Server,
};

/// The document, and which of its messages were seen.
struct Contract {
    document: Value,
    seen: BTreeSet<&'static str>,
}

impl Contract {
    fn read() -> Self {
        let document = serde_json::from_str(include_str!("../../../../docs/asyncapi.json")).unwrap();
        Self { document, seen: BTreeSet::new() }
    }

    /// Checks `payload` against what the document says of `message`.
    fn check(&self, message: &str, payload: &Value) {
        let reference = format!("#/components/messages/{message}/payload");
        let schema = json!({ "$ref": reference, "components": self.document["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(payload).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{message}: {errors:?} in {payload}");
    }

    /// A message that was sent to us.
    fn got(&mut self, message: &'static str, payload: &Value) {
        self.check(message, payload);
        self.seen.insert(message);
    }

    fn example(&self, message: &str) -> Value {
        self.document["components"]["messages"][message]["examples"][0]["payload"].clone()
    }
}

#[test]
fn examples_are_as_their_schemas_say() {
    let contract = Contract::read();
    for (name, message) in contract.document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            contract.check(name, &example["payload"]);
        }
        let refused = jsonschema::draft202012::new(&json!({
            "$ref": format!("#/components/messages/{name}/payload"), "components": contract.document["components"],
        }));
        assert!(!refused.unwrap().is_valid(&json!({ "something": "else" })), "{name} allows anything");
    }
}

#[tokio::test]
async fn what_is_sent_and_taken_is_in_the_document() {
    let mut contract = Contract::read();
    let server =
        Server::start_with(json!({ "access": "accounts" }), [quote("BTC_USD", 1), withheld("ETH_USD", 1)]).await;
    server.serve_pairs(pairs(&["BTC_USD", "ETH_USD", "SOL_USD"]));
    server.logins.add("ann", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", Duration::from_hours(1));

    let mut websocket = Ws::to(&server, "/v1/ws").await;
    contract.got("authenticated", &websocket.ask(contract.example("auth")).await);
    contract.got("snapshot", &websocket.next().await);
    contract.got("subscribed", &websocket.ask(contract.example("unsubscribe")).await);
    contract.got("subscribed", &websocket.ask(contract.example("subscribe")).await);
    contract.got("snapshot", &websocket.next().await);
    contract.got("limited", &websocket.ask(contract.example("limit")).await);
    websocket.ask(json!({ "op": "limit", "max_rate": 0 })).await;
    contract.got("pong", &websocket.ask(contract.example("ping")).await);
    contract.got("subscribed", &websocket.ask(json!({ "op": "subscribe", "pairs": ["BTC_*"] })).await);
    contract.got("snapshot", &websocket.next().await);
    contract.got("error", &websocket.ask(json!({ "op": "subscribe", "pairs": ["B*"], "id": "x" })).await);
    contract.got("error", &websocket.ask(json!({ "op": "subscribe", "pairs": ["LTC_USD"], "id": "x" })).await);
    contract.got("subscribed", &websocket.next().await);

    let stream = Sse::with(&server, "/v1/rates/stream", "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln\r\n");
    let mut stream = stream.await;
    contract.got("snapshotEvent", &stream.event("snapshot").await.1);

    let mut socketio = Sio(Ws::to(&server, "/socket.io/?EIO=4&transport=websocket").await);
    socketio.packet().await;
    socketio.0.send(format!("40{}", contract.example("renewal"))).await;
    socketio.packet().await;
    contract.got("liveRates", &socketio.map().await);
    socketio.0.send(format!("421{}", json!(["auth", contract.example("renewal")]))).await;
    contract.got("renewed", &acknowledged(&socketio.packet().await));
    socketio.0.send(r#"422["auth",{"token":"another"}]"#).await;
    contract.got("renewed", &acknowledged(&socketio.packet().await));

    for (name, message) in [("unsubscribe", "removal"), ("subscribe", "choice")] {
        contract.got("chosen", &socketio.emit(&json!([name, contract.example(message)])).await);
        contract.got("liveRates", &socketio.map().await);
    }
    contract.got("chosen", &socketio.emit(&json!(["subscribe", { "pairs": ["LTC_USD"] }])).await);
    contract.got("chosen", &socketio.emit(&json!(["subscribe"])).await);

    let mut position = String::new();
    for changed in [quote("BTC_USD", 2), dead("BTC_USD", 3)] {
        server.publish(changed);
        let quote = websocket.next().await;
        contract.got("quote", &quote);
        quote["position"].as_str().unwrap().clone_into(&mut position);
        contract.got("quoteEvent", &stream.event("quote").await.1);
        contract.got("liveRates", &socketio.map().await);
    }

    let again = format!("/v1/ws?since={position}");
    let token = [("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln")];
    let mut again = Ws::try_with(&server, &again, &token, connect(server.address).await).await.unwrap();
    contract.got("resumed", &again.next().await);
    // Its publisher falls silent.
    let mut last = quote("BTC_USD", 4);
    last.limits = Limits::STREAM;
    tokio::time::pause();
    server.publish(last);
    contract.got("quoteEvent", &stream.event("quote").await.1);
    contract.got("statusEvent", &stream.event("status").await.1);
    while !contract.seen.contains("heartbeat") || !contract.seen.contains("status") {
        let message = again.next().await;
        match message["type"].as_str() {
            Some("heartbeat") => contract.got("heartbeat", &message),
            Some("status") => contract.got("status", &message),
            _ => contract.got("quote", &message),
        }
    }
    tokio::time::resume();

    let messages = contract.document["components"]["messages"].as_object().unwrap();
    let to_us = messages.keys().filter(|name| !FROM_US.contains(&name.as_str()));
    assert_eq!(contract.seen.iter().copied().collect::<Vec<_>>(), to_us.collect::<Vec<_>>());
}

/// What clients send.
const FROM_US: [&str; 8] = ["auth", "choice", "limit", "ping", "removal", "renewal", "subscribe", "unsubscribe"];

/// The argument of an acknowledgement: `431[…]`.
fn acknowledged(packet: &str) -> Value {
    let argument = packet.strip_prefix("43").unwrap().trim_start_matches(|c: char| c.is_ascii_digit());
    serde_json::from_str::<Value>(argument).unwrap()[0].clone()
}
