//! What is logged of attempts to log in. In a process of its own, for the reason of `log.rs`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo, http::Request};
use ratebus_http_api::{Config, HttpApi};
use ratebus_sdk::{
    Compat, Env, Factory, Inbox, Sink,
    testkit::{RecordingHost, eventually},
};
use serde_json::{Value, json};
use tower::ServiceExt;

#[tokio::test]
async fn too_many_attempts_are_one_line_that_masks_the_account() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = Arc::new(File::create(&log).unwrap());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().json().with_writer(file).finish());
    let listeners = BTreeSet::from(["http".to_owned()]);
    let env = Env::new("api".parse().unwrap(), BTreeMap::new().into(), Compat::default().into(), listeners.into(), &[]);
    let database = format!("sqlite://{}", folder.path().join("data/ratebus.db").display());
    let config = json!({ "listener": "http", "routes": ["accounts"], "database": database, "login_attempts": 1 });
    let plugin = HttpApi::build(serde_json::from_value::<Config>(config).unwrap(), &env).unwrap();
    let host = RecordingHost::new();
    let ctx = host.context("api");
    let run = tokio::spawn(Box::new(plugin).run(Inbox::new(Vec::new()), ctx.clone()));
    eventually("the plugin is ready", Duration::from_secs(20), || ctx.health().state().is_ready()).await;

    for _ in 0..2 {
        let peer: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        let request = Request::post("/login").extension(ConnectInfo(peer));
        let request = request.header("content-type", "application/json").header("x-request-id", "test-1");
        let body = json!({ "email": "ann@example.com", "password": "a wrong one" }).to_string();
        host.router("http").unwrap().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    }
    ctx.cancel_token().cancel();
    run.await.unwrap().unwrap();

    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<Value> = lines.filter(|line| line["level"] == "WARN").map(|line| line["fields"].clone()).collect();
    let expected = json!({ "message": "too many attempts: the next must wait", "account": "a***@example.com",
        "by": "account_and_address", "seconds": 1, "peer": "192.0.2.1:50000", "request_id": "test-1" });
    assert_eq!(told, [expected], "{log}");
    assert!(!log.contains("ann@example.com") && !log.contains("a wrong one"), "{log}");
}
