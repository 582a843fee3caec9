//! How many clients there may be of one address.

use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

use crate::{
    clients::{Sse, Ws, connect_from, http},
    server::{DEADLINE, Server},
};

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

async fn from(server: &Server, address: [u8; 4]) -> Result<Ws, tungstenite::Error> {
    Ws::try_with(server, "/v1/ws", &[], connect_from(address, server.address).await).await
}

fn refusals(server: &Server, transport: &str, reason: &str) -> u64 {
    server.metric(&format!("ratebus_clients_refused_total{{transport=\"{transport}\",reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn one_address_has_so_many_clients_and_no_more() {
    let server = Server::start_with(json!({ "max_clients_per_address": 3 }), []).await;
    let _first = from(&server, HERE).await.unwrap();
    let _second = Sse::open(&server).await;
    let polling = "GET /socket.io/?EIO=4&transport=polling";
    assert_eq!(http(&server, polling, "").await.status, 200);
    for _ in 0..10 {
        let Err(tungstenite::Error::Http(refusal)) = from(&server, HERE).await else { panic!("let in") };
        assert_eq!(refusal.status(), 503);
        assert!(refusal.headers().contains_key("retry-after"));
    }
    for request in ["GET /v1/rates/stream", polling] {
        assert_eq!(http(&server, request, "").await.status, 503, "{request}");
    }
    from(&server, THERE).await.unwrap();
    assert_eq!(refusals(&server, "websocket", "address_full"), 10);
    assert_eq!((refusals(&server, "sse", "address_full"), refusals(&server, "socketio", "address_full")), (1, 1));
}

#[tokio::test]
async fn one_address_cannot_come_and_go_without_end() {
    let server = Server::start_with(json!({ "max_clients_per_address": 3 }), []).await;
    for _ in 0..3 {
        drop(from(&server, HERE).await.unwrap());
        server.wait_for_metric("ratebus_clients{transport=\"websocket\"}", 0).await;
    }
    let Err(tungstenite::Error::Http(refusal)) = from(&server, HERE).await else { panic!("let in") };
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusals(&server, "websocket", "address_too_often"), 1);
    from(&server, THERE).await.unwrap();
}

#[tokio::test]
async fn so_many_come_within_a_second_wherever_from() {
    let server = Server::start_with(json!({ "max_clients_per_second": 1 }), []).await;
    let mut last = 0;
    let refused = async {
        loop {
            last = if last == 200 { 1 } else { last + 1 };
            if let Err(error) = from(&server, [127, 0, 1, last]).await {
                return error;
            }
        }
    };
    let refused = timeout(DEADLINE, refused).await.expect("two come within a second");
    let tungstenite::Error::Http(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusals(&server, "websocket", "too_fast"), 1);
}
