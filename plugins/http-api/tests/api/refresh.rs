//! Logging in, refreshing and logging out under `/v1`.

use std::{collections::BTreeSet, fs};

use ratebus_http_api::admin;
use ratebus_sdk::model::Timestamp;
use serde_json::{Value, json};

use crate::{
    accounts::join_all,
    harness::{ADMIN_PASSWORD, Answer, Api, Home, USER, USER_PASSWORD, database, folder, plain, policy},
};

const GROUPS: &[&str] = &["accounts"];
const LOGIN: &str = "/v1/auth/login";
const REFRESH: &str = "/v1/auth/refresh";
const LOGOUT: &str = "/v1/auth/logout";
const NOT_VALID: &str = "the refresh token is not valid";
const DAY: i64 = 24 * 3600 * 1_000_000;

/// What logging in and refreshing give.
#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
    answer: Value,
}

impl Tokens {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        let names: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["accessToken", "expiresAt", "refreshToken", "refreshExpiresAt"]));
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self { access: text("accessToken"), refresh: text("refreshToken"), answer }
    }

    /// Days until the refresh token runs out, from now on.
    fn days(&self) -> i64 {
        // Up to a minute of it may be over.
        (self.time("refreshExpiresAt") - now() + 60_000_000) / DAY
    }

    /// In microseconds since 1970.
    fn time(&self, name: &str) -> i64 {
        self.answer[name].as_str().unwrap().parse::<Timestamp>().unwrap().micros()
    }
}

fn now() -> i64 {
    Timestamp::from(std::time::SystemTime::now()).micros()
}

/// One with the account [`USER`].
async fn start() -> Api {
    let api = Api::start(GROUPS).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    api
}

async fn try_login(api: &Api, password: &str) -> Answer {
    api.post(LOGIN, &json!({ "email": USER, "password": password })).await
}

async fn login(api: &Api) -> Tokens {
    Tokens::of(&try_login(api, USER_PASSWORD).await)
}

async fn refresh(api: &Api, token: &str) -> Answer {
    api.post(REFRESH, &json!({ "refreshToken": token })).await
}

/// Whether the access token is good.
async fn is_good(api: &Api, access: &str) -> bool {
    api.authed(access, "GET", "/v1/me", None).await.status == 200
}

#[tokio::test]
async fn a_login_gives_a_short_token_and_one_to_renew_it_with() {
    let api = start().await;
    let first = login(&api).await;
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(&first.access).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 15 * 60);
    assert_eq!(first.days(), 7);

    let second = Tokens::of(&refresh(&api, &first.refresh).await);
    assert!(is_good(&api, &first.access).await && is_good(&api, &second.access).await);
    let third = Tokens::of(&refresh(&api, &second.refresh).await);
    assert_eq!(BTreeSet::from([first.refresh, second.refresh, third.refresh]).len(), 3);
    // The original's login goes on as it was, and has nothing to renew.
    let original = api.token(USER, USER_PASSWORD).await;
    assert!(is_good(&api, &original).await);
    assert_eq!(refresh(&api, &original).await.problem(401), NOT_VALID);
}

#[tokio::test]
async fn what_is_no_login_is_refused() {
    let api = start().await;
    let unknown = api.post(LOGIN, &json!({ "email": "nobody@example.com", "password": USER_PASSWORD })).await;
    let wrong = try_login(&api, "wrong password").await;
    assert_eq!(wrong.problem(401), unknown.problem(401));
    for (path, body) in [
        (LOGIN, "{}"),
        (LOGIN, r#"{"email":"ann@example.com"}"#),
        (LOGIN, r#"{"email":"ann@example.com","password":"correct horse","role":"admin"}"#),
        (LOGIN, "[]"),
        (REFRESH, "{}"),
        (REFRESH, r#"{"refreshToken":1}"#),
        (REFRESH, r#"{"refreshToken":"x","email":"ann@example.com"}"#),
        (REFRESH, r#"{"refreshToken":"x","refreshToken":"x"}"#),
        (LOGOUT, "{}"),
    ] {
        api.post_text(path, body).await.problem(422);
    }
    for path in [LOGIN, REFRESH, LOGOUT] {
        api.call("POST", path, &[("content-type", "text/plain")], "{}").await.problem(415);
        assert_eq!(api.get(path).await.status, 405);
    }
    for token in ["", "x", &"0".repeat(64), &"g".repeat(64), "' OR 1=1 --"] {
        assert_eq!(refresh(&api, token).await.problem(401), NOT_VALID, "{token}");
    }
}

#[tokio::test]
async fn both_logins_have_one_limit() {
    let api = Api::start_with(GROUPS, &json!({ "login_attempts": 2 }), &plain(), &folder()).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    api.login(USER, "wrong password").await.envelope(401, "Invalid credentials");
    try_login(&api, "wrong password").await.problem(401);
    let refused = try_login(&api, USER_PASSWORD).await;
    refused.problem(429);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(api.login(USER, USER_PASSWORD).await.status, 429);
}

#[tokio::test]
async fn a_used_token_ends_the_session_of_the_newest() {
    let api = start().await;
    let (first, other) = (login(&api).await, login(&api).await);
    let second = Tokens::of(&refresh(&api, &first.refresh).await);
    let third = Tokens::of(&refresh(&api, &second.refresh).await);
    assert_eq!(refresh(&api, &first.refresh).await.problem(401), NOT_VALID);
    for dead in [&first, &second, &third] {
        assert!(!is_good(&api, &dead.access).await);
        assert_eq!(refresh(&api, &dead.refresh).await.problem(401), NOT_VALID);
    }
    assert!(is_good(&api, &other.access).await, "another session of the account goes on");
    Tokens::of(&refresh(&api, &other.refresh).await);

    let first = login(&api).await;
    let second = Tokens::of(&refresh(&api, &first.refresh).await);
    let body = json!({ "refreshToken": first.refresh });
    assert_eq!(api.post(LOGOUT, &body).await.problem(401), NOT_VALID);
    assert_eq!(refresh(&api, &second.refresh).await.problem(401), NOT_VALID);
}

#[tokio::test]
async fn of_refreshes_at_once_at_most_one_session_is_left() {
    let api = start().await;
    let second = Api::start_with(GROUPS, &json!({}), &plain(), &api.folder).await;
    let first = login(&api).await;
    let instances = [&api, &second].into_iter().cycle().take(20);
    let answers = join_all(instances.map(|instance| refresh(instance, &first.refresh))).await;
    let renewed: Vec<Tokens> = answers.iter().filter(|answer| answer.status == 200).map(Tokens::of).collect();
    assert_eq!(renewed.len(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.problem(401), NOT_VALID);
    }
    // The other nineteen were a second use.
    assert_eq!(refresh(&api, &renewed[0].refresh).await.problem(401), NOT_VALID);
    assert!(!is_good(&api, &renewed[0].access).await && !is_good(&api, &first.access).await);
}

#[tokio::test]
async fn a_session_ends_unused_after_a_week_and_used_after_a_month() {
    let api = start().await;
    let rows = api.rows().await;
    // As if so much time had gone by.
    let age = async |days: i64| {
        let time = days * DAY;
        let update = format!("UPDATE sessions SET created_at = created_at - {time}, expires_at = expires_at - {time}");
        assert_eq!(rows.execute(&update).await, 1);
    };
    let mut tokens = login(&api).await;
    for (days, left) in [(6, 7), (6, 7), (6, 7), (6, 6), (5, 1)] {
        age(days).await;
        tokens = Tokens::of(&refresh(&api, &tokens.refresh).await);
        assert_eq!(tokens.days(), left);
    }
    age(1).await;
    assert_eq!(refresh(&api, &tokens.refresh).await.problem(401), NOT_VALID);
    assert!(!is_good(&api, &tokens.access).await);

    // The next login forgets what has ended.
    let tokens = login(&api).await;
    assert_eq!(rows.count("SELECT COUNT(*) FROM refresh_tokens").await, 1);
    age(7).await;
    assert_eq!(refresh(&api, &tokens.refresh).await.problem(401), NOT_VALID);
}

#[tokio::test]
async fn an_access_token_does_not_outlast_its_session() {
    let api = start().await;
    let tokens = login(&api).await;
    let started = now() - 30 * DAY + 60_000_000;
    api.rows().await.execute(&format!("UPDATE sessions SET created_at = {started}")).await;
    let last = Tokens::of(&refresh(&api, &tokens.refresh).await);
    assert!(last.time("expiresAt") <= last.time("refreshExpiresAt"));
}

#[tokio::test]
async fn a_token_is_good_for_its_own_use_only() {
    let api = start().await;
    let tokens = login(&api).await;
    assert!(!is_good(&api, &tokens.refresh).await);
    assert_eq!(api.authed(&tokens.refresh, "POST", LOGOUT, None).await.status, 401);
    for wrong in [&tokens.access, tokens.access.rsplit('.').next().unwrap()] {
        assert_eq!(refresh(&api, wrong).await.problem(401), NOT_VALID);
    }
    assert_eq!(api.post(&format!("{REFRESH}?refreshToken={}", tokens.refresh), &json!({})).await.status, 422);
    // None of it was a use.
    Tokens::of(&refresh(&api, &tokens.refresh).await);
}

#[tokio::test]
async fn logging_out_kills_both_tokens() {
    let api = start().await;
    let other = login(&api).await;
    for how in ["access", "refresh", "the original's"] {
        let tokens = login(&api).await;
        let body = json!({ "refreshToken": tokens.refresh }).to_string();
        let answer = match how {
            "access" => api.authed(&tokens.access, "POST", LOGOUT, None).await,
            "refresh" => api.post_text(LOGOUT, &body).await,
            _ => api.authed(&tokens.access, "DELETE", "/logout", None).await,
        };
        assert_eq!(answer.status, if how == "the original's" { 200 } else { 204 }, "{how}");
        assert!(!is_good(&api, &tokens.access).await, "{how}");
        assert_eq!(refresh(&api, &tokens.refresh).await.problem(401), NOT_VALID, "{how}");
        assert_eq!(api.post_text(LOGOUT, &body).await.problem(401), NOT_VALID, "{how}");
        assert_eq!(api.authed(&tokens.access, "POST", LOGOUT, None).await.status, 401, "{how}");
    }
    assert!(is_good(&api, &other.access).await);
    assert_eq!(api.call("POST", LOGOUT, &[], "").await.status, 401);
    // What the body names counts, not what the header brings along.
    let second = login(&api).await;
    let body = json!({ "refreshToken": second.refresh }).to_string();
    assert_eq!(api.authed(&other.access, "POST", LOGOUT, Some(&body)).await.status, 204);
    assert!(is_good(&api, &other.access).await && !is_good(&api, &second.access).await);
}

#[tokio::test]
async fn whoever_loses_their_sessions_cannot_renew_them() {
    let api = start().await;
    let rows = api.rows().await;
    let tokens = login(&api).await;
    rows.execute("UPDATE users SET disabled = 1").await;
    assert_eq!(refresh(&api, &tokens.refresh).await.problem(401), NOT_VALID);
    rows.execute("UPDATE users SET disabled = 0").await;
    let tokens = Tokens::of(&refresh(&api, &tokens.refresh).await);

    let boss = api.admin().await;
    let me = api.authed(&tokens.access, "GET", "/v1/me", None).await.json();
    let path = format!("/v1/users/{}", me["id"].as_str().unwrap());
    for change in [r#"{"disabled":true}"#, r#"{"disabled":false}"#] {
        assert_eq!(api.authed(&boss, "PATCH", &path, Some(change)).await.status, 200);
        assert_eq!(refresh(&api, &tokens.refresh).await.problem(401), NOT_VALID);
    }

    let (own, other) = (login(&api).await, login(&api).await);
    let change = json!({ "currentPassword": USER_PASSWORD, "newPassword": ADMIN_PASSWORD }).to_string();
    assert_eq!(api.authed(&own.access, "POST", "/v1/me/password", Some(&change)).await.status, 204);
    assert_eq!(refresh(&api, &other.refresh).await.problem(401), NOT_VALID);
    let own = Tokens::of(&refresh(&api, &own.refresh).await);
    admin::reset_password(&database(&api.folder), USER, "another fine password".into(), &policy()).await.unwrap();
    assert_eq!(refresh(&api, &own.refresh).await.problem(401), NOT_VALID);
    assert_eq!(rows.count("SELECT COUNT(*) FROM refresh_tokens").await, 0);
}

#[tokio::test]
async fn without_the_database_no_token_is_used_up() {
    let api = start().await;
    let tokens = login(&api).await;
    api.folder.database.hide();
    refresh(&api, &tokens.refresh).await.problem(503);
    try_login(&api, USER_PASSWORD).await.problem(503);
    api.post(LOGOUT, &json!({ "refreshToken": tokens.refresh })).await.problem(503);
    api.folder.database.show();
    Tokens::of(&refresh(&api, &tokens.refresh).await);
}

#[tokio::test]
async fn the_database_holds_no_token() {
    let api = Api::start_with(GROUPS, &json!({}), &plain(), &Home::with_file()).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    let first = login(&api).await;
    let second = Tokens::of(&refresh(&api, &first.refresh).await);
    let folder = api.folder.path().join("data");
    let dump: Vec<u8> =
        fs::read_dir(folder).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(USER), "the dump is the database");
    for Tokens { access, refresh, .. } in [&first, &second] {
        assert!(!holds(access) && !holds(refresh) && !holds(&refresh[..32]) && !holds(&refresh[32..]));
    }
    // What it does hold is good for nothing.
    let rows: Vec<(String, String)> = api.rows().await.all("SELECT family, token FROM refresh_tokens").await;
    let (family, token) = rows[0].clone();
    for stolen in [family, token] {
        assert_eq!(refresh(&api, &stolen).await.problem(401), NOT_VALID);
    }
    Tokens::of(&refresh(&api, &second.refresh).await);
}
