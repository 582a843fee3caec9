//! Live rates for people who are logged in alone, on two instances that share a database and nothing else.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{Admin, EMAIL, Launch, PASSWORD, Ratebus, SocketIo, Sse, WebSocket, started};

/// Two instances.
async fn pair(exchange: &str) -> (Ratebus, Ratebus) {
    let launch = Launch::new().exchange(exchange).set("plugin.broadcast.config.access=accounts");
    Admin::create(&launch).await;
    let (here, there) = (launch.start().await, launch.start().await);
    here.ready("user-api").await;
    there.ready("user-api").await;
    (here, there)
}

/// The answer to a request that must work.
async fn post(ratebus: &Ratebus, path: &str, body: Value) -> Value {
    let answer = Client::new().post(ratebus.url("user-api") + path).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn login(ratebus: &Ratebus) -> Value {
    post(ratebus, "/v1/auth/login", json!({ "email": EMAIL, "password": PASSWORD })).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_logout_on_one_instance_ends_the_streams_on_the_other() {
    let exchange = started().await;
    let (here, there) = pair(&exchange.url()).await;
    let url = here.url("user-api");
    let tokens = login(&here).await;
    let token = text(&tokens["accessToken"]);

    let mut socket = WebSocket::connect(&url, "?pairs=BTC_USD").await;
    socket.send(&json!({ "op": "auth", "token": token }).to_string()).await;
    assert_eq!(socket.next().await["type"], "authenticated");
    socket.see("BTC_USD", |_| true).await;
    let mut stream = Sse::connect_with(&url, token).await;
    stream.see("BTC_USD", |_| true).await;
    let mut clients = Vec::new();
    for (version, transport) in [("3", "polling"), ("3", "websocket"), ("4", "polling"), ("4", "upgrade")] {
        let mut client = SocketIo::connect_with(&url, version, transport, token);
        client.until(|line| line["BTC_USD"].is_object()).await;
        clients.push(client);
    }

    let logout = Client::new().request(Method::POST, there.url("user-api") + "/v1/auth/logout").bearer_auth(token);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_eq!(socket.closed().await, 1008);
    stream.ended().await;
    for client in &mut clients {
        client.until(|line| line["disconnected"] == "io server disconnect").await;
    }
    for version in ["3", "4"] {
        for transport in ["polling", "websocket"] {
            let mut client = SocketIo::connect_with(&url, version, transport, token);
            assert_eq!(client.next().await, r#"{"refused":"a valid token is required"}"#, "{version} {transport}");
        }
    }
}

#[tokio::test]
async fn no_token_is_logged_whatever_the_filter() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url()).set("plugin.broadcast.config.access=accounts");
    Admin::create(&launch).await;
    let ratebus = launch.set("log.filter=trace").start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let tokens = login(&ratebus).await;
    let token = text(&tokens["accessToken"]);
    let mut socket = WebSocket::connect(&url, &format!("?token={token}")).await;
    socket.send(&json!({ "op": "auth", "token": token }).to_string()).await;
    socket.see("BTC_USD", |_| true).await;
    Sse::connect_with(&url, token).await.see("BTC_USD", |_| true).await;
    for transport in ["polling", "websocket"] {
        let mut client = SocketIo::connect_with(&url, "4", transport, token);
        client.until(|line| line["BTC_USD"].is_object()).await;
        client.renew(token).await;
        client.until(|line| line["answered"].is_object()).await;
    }
    post(&ratebus, "/v1/auth/refresh", json!({ "refreshToken": tokens["refreshToken"] })).await;
    ratebus.signal("TERM");
    let (status, lines) = ratebus.exited().await;
    assert!(status.success());
    let of_level = |level: &str| lines.iter().filter(|line| line.contains(&format!(r#""level":"{level}""#))).count();
    assert!(of_level("TRACE") > 0 && of_level("DEBUG") > 0, "{} lines", lines.len());
    for secret in [token, text(&tokens["refreshToken"]), PASSWORD] {
        let told: Vec<_> = lines.iter().filter(|line| line.contains(secret)).collect();
        assert!(told.is_empty(), "{told:?}");
    }
}

#[tokio::test]
async fn a_refreshed_token_keeps_a_client_connected_and_a_stolen_one_does_not() {
    let exchange = started().await;
    let (here, there) = pair(&exchange.url()).await;
    let url = here.url("user-api");
    let tokens = login(&here).await;
    let mut clients =
        ["3", "4"].map(|version| SocketIo::connect_with(&url, version, "websocket", text(&tokens["accessToken"])));
    let refresh = json!({ "refreshToken": tokens["refreshToken"] });
    let newer = post(&there, "/v1/auth/refresh", refresh.clone()).await;
    for client in &mut clients {
        client.until(|line| line["BTC_USD"].is_object()).await;
        client.renew(text(&newer["accessToken"])).await;
        let answer = client.until(|line| line["answered"].is_object()).await;
        assert!(answer.contains("expiresAt"), "{answer}");
        client.renew("no token").await;
        let answer = client.until(|line| line["answered"].is_object()).await;
        assert!(answer.contains(r#""status":401"#), "{answer}");
    }
    // Who sends a refresh token again ends the session for everybody.
    let again = Client::new().post(there.url("user-api") + "/v1/auth/refresh").json(&refresh).send().await.unwrap();
    assert_eq!(again.status(), 401);
    for client in &mut clients {
        client.until(|line| line["disconnected"] == "io server disconnect").await;
    }
}
