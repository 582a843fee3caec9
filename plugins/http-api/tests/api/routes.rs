//! Who may do what: every route of the plugin with what it answers to whom. A route that is not in a table here fails
//! the tests, so that nobody adds one without deciding who it is for.

use std::time::Duration;

use ratebus_sdk::model::{Adjustment, Rule, Sides};
use serde_json::json;

use crate::harness::{Api, USER_PASSWORD, parse};

/// A request to a route, and the status each kind of caller gets.
struct Row {
    method: &'static str,
    /// `{user}` stands for the user's id.
    path: &'static str,
    body: Option<&'static str>,
    status: Statuses,
}

#[derive(Clone, Copy)]
struct Statuses {
    /// Without a token, and with one of a disabled account, of a session that was logged out, and of an expired one.
    nobody: u16,
    user: u16,
    admin: u16,
}

const fn anyone(status: u16) -> Statuses {
    Statuses { nobody: status, user: status, admin: status }
}

const fn logged_in(status: u16) -> Statuses {
    Statuses { nobody: 401, ..anyone(status) }
}

const fn admins(status: u16) -> Statuses {
    Statuses { nobody: 401, user: 403, admin: status }
}

const fn row(method: &'static str, path: &'static str, body: Option<&'static str>, status: Statuses) -> Row {
    Row { method, path, body, status }
}

const fn get(path: &'static str, status: Statuses) -> Row {
    row("GET", path, None, status)
}

const WRONG_LOGIN: &str = r#"{"email":"nobody@example.com","password":"wrong password"}"#;
const WRONG_REFRESH: &str = r#"{"refreshToken":"x"}"#;
const WRONG_PASSWORD: &str = r#"{"currentPassword":"wrong password","newPassword":"another fine password"}"#;
const SPREAD: &str = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;

const TOO_FAR_AHEAD: &str = r#"{"buy":{"value":"1"},"sell":{"value":"1"},"effectiveFrom":"9999-01-01T00:00:00Z"}"#;

const EXCHANGE_RATE: &[Row] = &[
    get("/", anyone(200)),
    get("/health", anyone(200)),
    get("/rates/BTC_USD", anyone(200)),
    get("/v1/pairs", anyone(200)),
    get("/v1/rates", anyone(200)),
    get("/v1/rates/BTC_USD", anyone(200)),
    get("/openapi.json", anyone(200)),
    get("/docs", anyone(308)),
    get("/docs/", anyone(200)),
    get("/docs/index.html", anyone(200)),
    get("/docs/start.js", anyone(200)),
    get("/docs/style.css", anyone(200)),
    get("/docs/vendor/swagger-ui-bundle.js", anyone(200)),
    get("/docs/vendor/swagger-ui.css", anyone(200)),
    row("POST", "/v1/rates", Some("{}"), anyone(405)),
    get("/rates", anyone(404)),
    get("/v1/spreads", anyone(404)),
    get("/v1/users", anyone(404)),
];

/// In this order: a spread is set before it is read, and the last rows end sessions.
const USER_API: &[Row] = &[
    get("/", anyone(200)),
    get("/rates", anyone(200)),
    get("/rates/BTC_USD", anyone(200)),
    get("/v1/pairs", anyone(200)),
    get("/v1/rates", anyone(200)),
    get("/v1/rates/BTC_USD", anyone(200)),
    get("/openapi.json", anyone(200)),
    get("/asyncapi.json", anyone(200)),
    get("/docs", anyone(308)),
    get("/docs/", anyone(200)),
    get("/docs/index.html", anyone(200)),
    get("/docs/start.js", anyone(200)),
    get("/docs/style.css", anyone(200)),
    get("/docs/vendor/swagger-ui-bundle.js", anyone(200)),
    get("/docs/vendor/swagger-ui.css", anyone(200)),
    get("/ws-test", anyone(308)),
    get("/ws-test/", anyone(200)),
    get("/ws-test/index.html", anyone(200)),
    get("/ws-test/admin.js", anyone(200)),
    get("/ws-test/api.js", anyone(200)),
    get("/ws-test/app.js", anyone(200)),
    get("/ws-test/icon.svg", anyone(200)),
    get("/ws-test/money.js", anyone(200)),
    get("/ws-test/style.css", anyone(200)),
    get("/ws-test/table.js", anyone(200)),
    get("/ws-test/vendor/socket.io.esm.min.js", anyone(200)),
    row("POST", "/register", Some("{}"), anyone(422)),
    row("POST", "/login", Some(WRONG_LOGIN), anyone(401)),
    row("POST", "/v1/auth/login", Some(WRONG_LOGIN), anyone(401)),
    row("POST", "/v1/auth/refresh", Some(WRONG_REFRESH), anyone(401)),
    row("POST", "/v1/auth/logout", Some(WRONG_REFRESH), anyone(401)),
    get("/v1/me", logged_in(200)),
    row("PATCH", "/v1/me", Some("{}"), logged_in(200)),
    row("DELETE", "/v1/me", None, anyone(405)),
    row("POST", "/v1/me/password", Some(WRONG_PASSWORD), logged_in(422)),
    get("/v1/users", admins(200)),
    get("/v1/users?limit=0", admins(422)),
    get("/v1/users/{user}", admins(200)),
    get("/v1/users/nobody", admins(404)),
    row("PATCH", "/v1/users/{user}", Some("{}"), admins(200)),
    row("PATCH", "/v1/users/{user}", Some("{"), admins(422)),
    row("PATCH", "/v1/users/nobody", Some("{}"), admins(404)),
    // The original's answer to a user who is no administrator.
    row("POST", "/settings/update-rates", Some(r#"{"buy":1,"sell":0}"#), Statuses { user: 401, ..admins(200) }),
    get("/v1/spreads", admins(200)),
    row("PUT", "/v1/spreads/BTC_USD", Some(SPREAD), admins(200)),
    row("PUT", "/v1/spreads/BTC_USD", Some("{"), admins(422)),
    row("PUT", "/v1/spreads/LTC_USD", Some(SPREAD), admins(404)),
    get("/v1/spreads/BTC_USD", admins(200)),
    get("/v1/spreads/nothing", admins(404)),
    row("POST", "/v1/spreads/BTC_USD/preview", Some(SPREAD), admins(200)),
    get("/v1/spreads/BTC_USD/history", admins(200)),
    row("POST", "/v1/spreads/BTC_USD/rollback", Some(r#"{"revision":1}"#), admins(200)),
    row("PUT", "/v1/spreads/BTC_USD", Some(TOO_FAR_AHEAD), admins(422)),
    get("/v1/spreads/scheduled", admins(200)),
    get("/v1/spreads/scheduled/nothing", admins(404)),
    row("DELETE", "/v1/spreads/scheduled/nothing", None, admins(404)),
    row("PUT", "/v1/spreads/scheduled", Some(SPREAD), anyone(405)),
    row("DELETE", "/v1/spreads/BTC_USD", None, admins(204)),
    row("POST", "/v1/spreads", Some(SPREAD), anyone(405)),
    get("/health", anyone(404)),
    get("/nothing", anyone(404)),
    get("/v1/nothing", anyone(404)),
    row("DELETE", "/logout", None, Statuses { nobody: 400, user: 200, admin: 200 }),
    get("/v1/me", anyone(401)),
    get("/v1/spreads", anyone(401)),
];

#[tokio::test]
async fn the_exchange_rate_role_is_open_to_everybody_and_has_nothing_else() {
    let api = Api::start(&["rates", "health", "docs"]).await;
    api.rate("kraken", "BTC_USD", "20248.9", "20249.0", Duration::ZERO);
    every_route_is_in(EXCHANGE_RATE, &api).await;
    for row in EXCHANGE_RATE {
        assert_eq!(row.status.nobody, row.status.admin, "{}", row.path);
        let anonymous = request(&api, row, row.path, None).await;
        assert_eq!(anonymous, row.status.nobody, "{} {}", row.method, row.path);
        assert_eq!(request(&api, row, row.path, Some("a.b.c")).await, anonymous, "{} {}", row.method, row.path);
    }
}

#[tokio::test]
async fn the_user_api_role_is_open_to_whom_it_is_for() {
    let api = Api::start(&["quotes", "accounts", "spreads", "page", "docs"]).await;
    let one = Adjustment::absolute(parse("1"));
    api.quote("BTC_USD", "20249", "20249", Some(Rule::from_adjustments(Sides { buy: one, sell: one })));
    every_route_is_in(USER_API, &api).await;

    let (admin, user) = (api.admin().await, api.user().await);
    let nobodies = [None, Some(disabled(&api, &admin).await), Some(logged_out(&api).await), Some(expired(&api).await)];
    let user_id = id(&api, &user).await;
    for row in USER_API {
        let path = row.path.replace("{user}", &user_id);
        for token in &nobodies {
            let status = request(&api, row, &path, token.as_deref()).await;
            assert_eq!(status, row.status.nobody, "{} {path}", row.method);
        }
        let status = request(&api, row, &path, Some(&user)).await;
        assert_eq!(status, row.status.user, "a user: {} {path}", row.method);
        let status = request(&api, row, &path, Some(&admin)).await;
        assert_eq!(status, row.status.admin, "an administrator: {} {path}", row.method);
    }
}

/// Sends a row's request. A refusal has the form of the path's family.
async fn request(api: &Api, row: &Row, path: &str, token: Option<&str>) -> u16 {
    let answer = if let Some(token) = token {
        api.authed(token, row.method, path, row.body).await
    } else {
        let json = [("content-type", "application/json")];
        api.call(row.method, path, &json, row.body.unwrap_or_default()).await
    };
    if answer.status == 405 && path.starts_with("/v1/") {
        // The listener says more about it.
    } else if answer.status >= 400 && path.starts_with("/v1/") {
        answer.problem(answer.status);
    } else if answer.status >= 400 {
        assert_eq!(answer.json()["state"], json!("failed"), "{answer:?}");
    }
    answer.status
}

/// Asks each path that is mounted for each method, known ones and one that is not, and looks for what is there in
/// `table`; and that what the table has is there.
async fn every_route_is_in(table: &[Row], api: &Api) {
    let routes = api.host.paths("http");
    assert!(!routes.is_empty());
    for route in &routes {
        let path: Vec<&str> = route.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "ANYTHING"] {
            let is_there = api.call(method, &path.join("/"), &[], "").await.status != 405;
            let mut rows = table.iter().filter(|row| row.method == method && is_of(row, route));
            let is_listed = rows.any(|row| row.status.admin != 405);
            assert_eq!(is_there, is_listed, "{method} {route}: is it in the API, and is it in the table?");
        }
    }
    for row in table.iter().filter(|row| !routes.iter().any(|route| is_of(row, route))) {
        assert_eq!(row.status.admin, 404, "the API lacks {}", row.path);
    }
}

/// Whether a row's request goes to this route.
fn is_of(row: &Row, route: &str) -> bool {
    let path = row.path.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').zip(route.split('/'));
    path.split('/').count() == route.split('/').count() && parts.all(|(part, of)| of.starts_with('{') || part == of)
}

async fn registered(api: &Api, email: &str) -> String {
    assert_eq!(api.register(email, USER_PASSWORD).await.status, 200);
    api.token(email, USER_PASSWORD).await
}

async fn id(api: &Api, token: &str) -> String {
    let me = api.authed(token, "GET", "/v1/me", None).await.json();
    me["id"].as_str().unwrap().to_owned()
}

async fn disabled(api: &Api, admin: &str) -> String {
    let token = registered(api, "disabled@example.com").await;
    let path = format!("/v1/users/{}", id(api, &token).await);
    assert_eq!(api.authed(admin, "PATCH", &path, Some(r#"{"disabled":true}"#)).await.status, 200);
    token
}

async fn logged_out(api: &Api) -> String {
    let token = registered(api, "out@example.com").await;
    assert_eq!(api.authed(&token, "DELETE", "/logout", None).await.status, 200);
    token
}

async fn expired(api: &Api) -> String {
    let token = registered(api, "expired@example.com").await;
    let end = "UPDATE sessions SET expires_at = 1 WHERE user_id = (SELECT id FROM users WHERE email LIKE 'expired@%')";
    assert_eq!(api.rows().await.execute(end).await, 1);
    token
}
