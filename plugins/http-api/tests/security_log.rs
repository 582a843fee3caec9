//! The records of what concerns security: one line each, with who, what, from where and in which request, and nothing in
//! it that a client could have written. In a process of its own, for the reason of `log.rs`.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::Request,
};
use ratebus_http_api::{Config, HttpApi, PasswordPolicy, admin};
use ratebus_sdk::{
    Compat, Env, Factory, Inbox, Sink,
    model::Timestamp,
    testkit::{RecordingHost, eventually},
};
use serde_json::{Value, json};
use tower::ServiceExt;

const ADMIN: &str = "boss@example.com";
const PASSWORD: &str = "a long enough passphrase";
/// What ends a line of a log and begins another, for who writes it as it came.
const FORGED: &str = "\r\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}";

/// Sends a request; the answer's JSON.
async fn send(router: &Router, method: &str, path: &str, token: &str, body: &Value) -> Value {
    let peer: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    let request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
    let request = request.header("x-request-id", "test-1").header("user-agent", r#"{"level":"ERROR"}"#);
    let request = request.header("content-type", "application/json").header("authorization", format!("Bearer {token}"));
    let answer = router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}

async fn register(router: &Router, email: &str) -> Value {
    let account = json!({ "firstName": "Ann", "lastName": "Other", "email": email, "password": PASSWORD,
        "confirmPassword": PASSWORD });
    send(router, "POST", "/register", "", &account).await
}

async fn login(router: &Router, email: &str, password: &str) -> Value {
    send(router, "POST", "/v1/auth/login", "", &json!({ "email": email, "password": password })).await
}

fn in_an_hour() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now()).plus(Duration::from_hours(1))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Makes every event happen.
async fn events(router: &Router) {
    register(router, "ann@example.com").await;
    login(router, "ann@example.com", "a wrong one").await;
    let user = login(router, "user@example.com", PASSWORD).await;
    let shown = json!({ "refreshToken": user["refreshToken"] });
    let renewed = send(router, "POST", "/v1/auth/refresh", "", &shown).await;
    send(router, "GET", "/v1/users", text(&renewed["accessToken"]), &Value::Null).await;
    send(router, "POST", "/v1/auth/refresh", "", &shown).await;

    let boss = login(router, ADMIN, PASSWORD).await;
    let boss = text(&boss["accessToken"]);
    let users = send(router, "GET", "/v1/users", boss, &Value::Null).await;
    let users = users["users"].as_array().unwrap();
    let path = |email: &str| {
        let user = users.iter().find(|user| user["email"] == email).unwrap();
        format!("/v1/users/{}", text(&user["id"]))
    };
    let user = path("user@example.com");
    for change in [json!({ "role": "admin" }), json!({ "role": "user" }), json!({ "disabled": true })] {
        send(router, "PATCH", &user, boss, &change).await;
    }
    send(router, "PATCH", &user, boss, &json!({ "disabled": false })).await;
    send(router, "PATCH", &path(ADMIN), boss, &json!({ "role": "user" })).await;
    let side = json!({ "value": "1" });
    let spread = json!({ "buy": side, "sell": side, "reason": "{\"level\":\"ERROR\"}" });
    send(router, "PUT", "/v1/spreads/*", boss, &spread).await;
    let later = json!({ "buy": side, "sell": side, "effectiveFrom": in_an_hour() });
    let scheduled = send(router, "PUT", "/v1/spreads/*", boss, &later).await;
    send(router, "DELETE", &format!("/v1/spreads/scheduled/{}", text(&scheduled["id"])), boss, &Value::Null).await;
    let passwords = json!({ "currentPassword": PASSWORD, "newPassword": "another long passphrase" });
    send(router, "POST", "/v1/me/password", boss, &passwords).await;
    send(router, "DELETE", "/logout", boss, &Value::Null).await;
}

/// Puts [`FORGED`] wherever a text is taken.
async fn forgeries(router: &Router) {
    let boss = login(router, ADMIN, "another long passphrase").await;
    let boss = text(&boss["accessToken"]);
    let with = |name: &str| {
        let mut body = json!({ "firstName": "Ann", "lastName": "Other", "email": "new@example.com",
            "password": PASSWORD, "confirmPassword": PASSWORD });
        body[name] = json!(format!("{}{FORGED}", body[name].as_str().unwrap_or_default()));
        body
    };
    for name in ["firstName", "lastName", "email", "password", FORGED] {
        send(router, "POST", "/register", "", &with(name)).await;
    }
    for (email, password) in [(FORGED, PASSWORD), ("ann@example.com", FORGED)] {
        let body = json!({ "email": email, "password": password });
        send(router, "POST", "/login", "", &body).await;
        send(router, "POST", "/v1/auth/login", "", &body).await;
    }
    send(router, "POST", "/v1/auth/refresh", "", &json!({ "refreshToken": FORGED })).await;
    send(router, "POST", "/v1/auth/logout", "", &json!({ "refreshToken": FORGED })).await;
    send(router, "PATCH", "/v1/me", boss, &json!({ "firstName": FORGED })).await;
    let passwords = json!({ "currentPassword": FORGED, "newPassword": FORGED });
    send(router, "POST", "/v1/me/password", boss, &passwords).await;
    let (side, wrong) = (json!({ "value": "1" }), json!({ "unit": FORGED, "value": FORGED }));
    send(router, "PUT", "/v1/spreads/*", boss, &json!({ "buy": side, "sell": side, "reason": FORGED })).await;
    send(router, "PUT", "/v1/spreads/*", boss, &json!({ "buy": wrong, "sell": wrong })).await;
    let escaped = "%0d%0a%7b%22level%22:%22ERROR%22%7d";
    for path in ["/v1/spreads/", "/v1/users/", "/v1/rates/", "/v1/users?after=", "/"] {
        send(router, "GET", &format!("{path}{escaped}"), boss, &Value::Null).await;
    }
}

#[tokio::test]
async fn each_event_is_one_record_that_no_client_can_forge() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = Arc::new(File::create(&log).unwrap());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().json().with_writer(file).finish());
    let listeners = BTreeSet::from(["http".to_owned()]);
    let env = Env::new("api".parse().unwrap(), BTreeMap::new().into(), Compat::default().into(), listeners.into(), &[]);
    let database = format!("sqlite://{}", folder.path().join("data/ratebus.db").display());
    admin::create_admin(&database.parse().unwrap(), ADMIN, PASSWORD.into(), &PasswordPolicy::default()).await.unwrap();
    let config = json!({ "listener": "http", "routes": ["accounts", "spreads"], "database": database,
        "login_attempts": 1 });
    let plugin = HttpApi::build(serde_json::from_value::<Config>(config).unwrap(), &env).unwrap();
    let host = RecordingHost::new();
    let ctx = host.context("api");
    let run = tokio::spawn(Box::new(plugin).run(Inbox::new(Vec::new()), ctx.clone()));
    eventually("the plugin is ready", Duration::from_secs(20), || ctx.health().state().is_ready()).await;

    let router = host.router("http").unwrap();
    register(&router, "user@example.com").await;
    events(&router).await;
    forgeries(&router).await;
    ctx.cancel_token().cancel();
    run.await.unwrap().unwrap();

    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let records: Vec<Value> = lines.map(|line| line["fields"].clone()).collect();
    assert!(records.iter().all(|record| record["message"] != "forged"), "{log}");
    let events: Vec<Value> = records.into_iter().filter(|record| record["event"].is_string()).collect();
    for event in &events {
        assert_eq!((&event["peer"], &event["request_id"]), (&json!("192.0.2.1:50000"), &json!("test-1")), "{event}");
    }
    let told = |expected: Value| {
        let has = |event: &&Value| expected.as_object().unwrap().iter().all(|(name, value)| event[name] == *value);
        events.iter().filter(has).count()
    };
    let (ann, user, boss) = ("a***@example.com", "u***@example.com", "b***@example.com");
    for (expected, times) in [
        (json!({ "event": "registration", "account": ann, "result": "ok" }), 1),
        (json!({ "event": "login", "account": ann, "result": "refused" }), 1),
        (json!({ "event": "throttled", "account": ann, "by": "account_and_address", "seconds": 1 }), 1),
        (json!({ "event": "login", "account": user, "result": "ok" }), 1),
        (json!({ "event": "admin_refused", "account": user }), 1),
        (json!({ "event": "token_reuse", "account": user }), 1),
        (json!({ "event": "login", "account": boss, "result": "ok" }), 2),
        (json!({ "event": "account_changed", "actor": boss, "account": user, "role": "admin" }), 1),
        (json!({ "event": "account_changed", "actor": boss, "account": user, "role": "user", "disabled": false }), 2),
        (json!({ "event": "account_changed", "actor": boss, "account": user, "disabled": true }), 1),
        (json!({ "event": "last_admin_kept", "actor": boss }), 1),
        (json!({ "event": "spread_changed", "account": boss, "scope": "*", "revision": 1, "removed": false }), 1),
        (json!({ "event": "spread_scheduled", "account": boss, "scope": "*" }), 1),
        (json!({ "event": "spread_cancelled", "account": boss, "scope": "*" }), 1),
        (json!({ "event": "password_change", "account": boss, "result": "ok" }), 1),
        (json!({ "event": "logout", "account": boss, "result": "ok" }), 1),
    ] {
        assert_eq!(told(expected.clone()), times, "{expected}\n{log}");
    }
    for secret in [ADMIN, "ann@example.com", PASSWORD, "a wrong one", "another long passphrase"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
