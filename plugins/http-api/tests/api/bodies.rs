//! Bodies, at every route that takes one: what is not declared as JSON, is too long, or can be read in two ways is refused.

use std::io;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;
use tokio::sync::oneshot;

use crate::harness::{ADMIN, ADMIN_PASSWORD, Answer, Api};

/// Every route with a body, and a member that its body may have. An administrator may use them all.
const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", "/register", "email"),
    ("POST", "/login", "email"),
    ("POST", "/settings/update-rates", "buy"),
    ("POST", "/v1/auth/login", "email"),
    ("POST", "/v1/auth/refresh", "refreshToken"),
    ("POST", "/v1/auth/logout", "refreshToken"),
    ("PATCH", "/v1/me", "firstName"),
    ("POST", "/v1/me/password", "newPassword"),
    ("PATCH", "/v1/users/{user}", "role"),
    ("PUT", "/v1/spreads/BTC_USD", "buy"),
    ("POST", "/v1/spreads/BTC_USD/preview", "buy"),
    ("POST", "/v1/spreads/BTC_USD/rollback", "revision"),
];

fn refused(answer: &Answer, path: &str, status: u16, case: &str) {
    assert_eq!(answer.status, status, "{path}: {case}: {answer:?}");
    if path.starts_with("/v1/") {
        answer.problem(status);
    } else {
        assert_eq!(answer.json()["statusCode"], json!(status), "{path}: {case}");
    }
}

#[tokio::test]
async fn only_json_that_reads_in_one_way_is_taken() {
    let api = Api::start(&["quotes", "accounts", "spreads"]).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let id = api.authed(&user, "GET", "/v1/me", None).await.json()["id"].as_str().unwrap().to_owned();
    let before = api.authed(&admin, "GET", "/v1/spreads", None).await.json();
    for (method, path, member) in ROUTES {
        let path = path.replace("{user}", &id);
        let send = async |kind: &str, body: &[u8]| {
            let bearer = format!("Bearer {admin}");
            let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
            api.call(method, &path, &headers, body.to_vec()).await
        };
        let kinds = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];
        for kind in kinds.iter().chain(&["text/json", "application/jsonp", "application/json-patch+json"]) {
            refused(&send(kind, b"{}").await, &path, 415, kind);
        }
        let deep = format!("{{\"{member}\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        let twice = format!("{{\"{member}\":\"1\",\"{member}\":\"1\"}}");
        // No body at all is an answer too, where a bearer token is one.
        if path != "/v1/auth/logout" {
            refused(&send("application/json", b"").await, &path, 422, "empty");
        }
        for body in ["null", "[]", "\"x\"", "{", "{}x", "{\"a\":NaN}", "{'a':1}", &deep, &twice] {
            refused(&send("application/json", body.as_bytes()).await, &path, 422, &body[..body.len().min(40)]);
        }
        refused(&send("Application/JSON; charset=utf-8", b"{\"a\":\"\xff\"}").await, &path, 422, "no UTF-8");
        refused(&send("application/json", &vec![b' '; 16 * 1024 + 1]).await, &path, 413, "too long");
        if path.starts_with("/v1/") {
            let unknown = send("application/json", br#"{"unknown":1}"#).await;
            refused(&unknown, &path, 422, "an unknown member");
            assert_eq!(unknown.json()["errors"][0]["field"], "unknown", "{path}");
        }
    }
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), before);
    assert_eq!(api.authed(&admin, "GET", "/v1/me", None).await.status, 200);
}

/// The table has what takes a body: a route that is asked with none, by an administrator, and minds.
#[tokio::test]
async fn every_route_with_a_body_is_in_the_table() {
    let api = Api::start(&["quotes", "accounts", "spreads", "page"]).await;
    api.admin().await;
    for route in api.host.paths("http") {
        // A new one for each: one of the routes ends its session.
        let admin = api.token(ADMIN, ADMIN_PASSWORD).await;
        let path = route.replace("{pair}", "BTC_USD").replace("{scope}", "BTC_USD").replace("{id}", "x");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let bearer = format!("Bearer {admin}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
            let takes_one = api.call(method, &path, &headers, "x").await.status == 415;
            let listed = |(of, listed, _): &&(&str, &str, &str)| *of == method && listed.replace("{user}", "x") == path;
            assert_eq!(takes_one, ROUTES.iter().any(|row| listed(&row)), "{method} {path}");
        }
    }
}

/// A right is that of the moment of the change: a body may be on its way for seconds.
#[tokio::test]
async fn who_loses_a_right_while_the_body_comes_changes_nothing() {
    const ROLE: &str = "UPDATE users SET role = 'user' WHERE email = 'admin@example.com'";
    const SESSION: &str = "DELETE FROM sessions";
    let api = Api::start(&["quotes", "accounts", "spreads"]).await;
    let user = api.user().await;
    let me = api.authed(&user, "GET", "/v1/me", None).await.json();
    api.admin().await;
    let rows = api.rows().await;
    let new_password = json!({ "currentPassword": ADMIN_PASSWORD, "newPassword": "another horse, correct" });
    let spread = json!({ "buy": { "value": "1" }, "sell": { "value": "1" } });
    for (method, path, body, lost) in [
        ("PUT", "/v1/spreads/*", &spread, ROLE),
        ("POST", "/v1/spreads/*/preview", &spread, ROLE),
        ("POST", "/v1/spreads/*/rollback", &json!({ "revision": 1 }), ROLE),
        ("POST", "/settings/update-rates", &json!({ "buy": 1, "sell": -1 }), ROLE),
        ("PATCH", &format!("/v1/users/{}", me["id"].as_str().unwrap()), &json!({ "role": "admin" }), ROLE),
        ("PATCH", "/v1/me", &json!({ "firstName": "Eve" }), SESSION),
        ("POST", "/v1/me/password", &new_password, SESSION),
    ] {
        rows.execute("UPDATE users SET role = 'admin' WHERE email = 'admin@example.com'").await;
        let bearer = format!("Bearer {}", api.token(ADMIN, ADMIN_PASSWORD).await);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let ((read, is_read), (go_on, goes_on)) = (oneshot::channel(), oneshot::channel::<()>());
        let text = Bytes::from(body.to_string());
        let body = Body::from_stream(stream::once(async move {
            read.send(()).unwrap();
            goes_on.await.unwrap();
            Ok::<_, io::Error>(text)
        }));
        let change = async {
            is_read.await.unwrap();
            rows.execute(lost).await;
            go_on.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(api.call(method, path, &headers, body), change);
        let status = if lost == ROLE && path.starts_with("/v1/") { 403 } else { 401 };
        refused(&answer, path, status, lost);
    }
    assert_eq!(rows.count("SELECT COUNT(*) FROM spreads").await, 0);
    api.token(ADMIN, ADMIN_PASSWORD).await;
}
