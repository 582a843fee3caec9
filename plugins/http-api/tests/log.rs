//! What is logged at a start and of changes of accounts. In a process of its own, because `tracing` lets the first thread that logs a line decide
//! whether anybody listens to it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use ratebus_http_api::{Config, DatabaseUrl, HttpApi, PasswordPolicy, admin};
use ratebus_sdk::{
    Compat, Env, Factory, Inbox, Sink,
    testkit::{RecordingHost, eventually},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// What is logged until the plugin is ready and `then` has been done.
async fn log(folder: &Path, database: &DatabaseUrl, then: impl AsyncFnOnce(Router)) -> String {
    let log = folder.join("log");
    let file = Arc::new(File::create(&log).unwrap());
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(file).finish());
    let listeners = BTreeSet::from(["http".to_owned()]);
    let env = Env::new("api".parse().unwrap(), BTreeMap::new().into(), Compat::default().into(), listeners.into(), &[]);
    let config = json!({ "listener": "http", "routes": ["accounts", "spreads"], "database": database.to_string() });
    let plugin = HttpApi::build(serde_json::from_value::<Config>(config).unwrap(), &env).unwrap();
    let host = RecordingHost::new();
    let ctx = host.context("api");
    let run = tokio::spawn(Box::new(plugin).run(Inbox::new(Vec::new()), ctx.clone()));
    eventually("the plugin is ready", Duration::from_secs(20), || ctx.health().state().is_ready()).await;
    then(host.router("http").unwrap()).await;
    ctx.cancel_token().cancel();
    run.await.unwrap().unwrap();
    fs::read_to_string(log).unwrap()
}

fn database(folder: &TempDir) -> DatabaseUrl {
    format!("sqlite://{}", folder.path().join("data/ratebus.db").display()).parse().unwrap()
}

#[tokio::test]
async fn a_start_without_an_administrator_tells_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let hint = "`ratebus admin create --email YOU`";
    let first = log(folder.path(), &database, async |_| ()).await;
    assert_eq!(first.matches(hint).count(), 1, "{first}");
    admin::seed(&database, &PasswordPolicy::default()).await.unwrap();
    let second = log(folder.path(), &database, async |_| ()).await;
    assert!(second.contains("is ready") && !second.contains(hint), "{second}");
}

#[tokio::test]
async fn a_changed_account_is_logged_with_who_whose_and_which_request() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = admin::seed(&database(&folder), &PasswordPolicy::default()).await.unwrap();
    let [admin, _, bob] = accounts.as_slice() else { panic!("{accounts:?}") };
    let old = admin.password.expose_secret();
    let new = "another fine password";
    let log = log(folder.path(), &database(&folder), async |router| {
        let login = json!({ "email": admin.email, "password": old });
        let token = send(&router, "POST", "/login", "", &login).await["data"]["token"]["token"].clone();
        let token = token.as_str().unwrap();
        let users = send(&router, "GET", "/v1/users", token, &json!(null)).await;
        let users = users["users"].as_array().unwrap();
        let id = |email: &str| users.iter().find(|user| user["email"] == email).unwrap()["id"].as_str().unwrap();
        let path = format!("/v1/users/{}", id(bob.email));
        send(&router, "PATCH", &path, token, &json!({ "disabled": true })).await;
        let path = format!("/v1/users/{}", id(admin.email));
        send(&router, "PATCH", &path, token, &json!({ "role": "user" })).await;
        for current in ["wrong password", old] {
            let passwords = json!({ "currentPassword": current, "newPassword": new });
            send(&router, "POST", "/v1/me/password", token, &passwords).await;
        }
    })
    .await;
    let (who, whose) = ("=\"a***@example.com\"", "=\"b***@example.com\"");
    for parts in [
        [
            "account changed event=\"account_changed\" actor",
            who,
            &format!("account{whose}"),
            "role=\"user\" disabled=true",
        ],
        ["the last administrator was to be demoted or disabled: refused", "event=\"last_admin_kept\" actor", who, ""],
        ["password change event=\"password_change\" account", who, "result=\"refused\"", ""],
        ["password change event=\"password_change\" account", who, "result=\"ok\"", ""],
    ] {
        let found: Vec<&str> = log.lines().filter(|logged| parts.iter().all(|&part| logged.contains(part))).collect();
        assert!(found.len() == 1 && found[0].contains("request_id=\"test-1\""), "{parts:?}: {log}");
    }
    for secret in [old, new, "wrong password", admin.email, bob.email] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_used_refresh_token_is_logged_once_and_no_token_is() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = admin::seed(&database(&folder), &PasswordPolicy::default()).await.unwrap();
    let account = &accounts[0];
    let mut secrets = vec![account.password.expose_secret().to_owned(), account.email.to_owned()];
    let log = log(folder.path(), &database(&folder), async |router| {
        let shown = json!({ "email": account.email, "password": account.password.expose_secret() });
        let post = async |path: &str, body: &Value| send(&router, "POST", path, "", body).await;
        let mut tokens = vec![post("/v1/auth/login", &shown).await];
        let used = json!({ "refreshToken": tokens[0]["refreshToken"] });
        tokens.push(post("/v1/auth/refresh", &used).await);
        for _ in 0..3 {
            assert_eq!(post("/v1/auth/refresh", &used).await["status"], 401);
        }
        for name in ["accessToken", "refreshToken"] {
            secrets.extend(tokens.iter().map(|tokens| tokens[name].as_str().unwrap().to_owned()));
        }
    })
    .await;
    let told: Vec<&str> = log.lines().filter(|line| line.contains("token_reuse")).collect();
    assert!(told.len() == 1 && told[0].contains("WARN"), "{log}");
    assert!(told[0].contains("account=\"a***@example.com\"") && told[0].contains("request_id=\"test-1\""), "{log}");
    assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())), "{log}");
}

/// The answer to a request that has this token and body.
async fn send(router: &Router, method: &str, path: &str, token: &str, body: &Value) -> Value {
    let request = Request::builder().method(method).uri(path).header("x-request-id", "test-1");
    let request = request.header("content-type", "application/json").header("authorization", format!("Bearer {token}"));
    let answer = router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}
