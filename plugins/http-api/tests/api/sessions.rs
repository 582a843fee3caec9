//! What the plugins beside this one are told of who is logged in.

use std::{fs, sync::Arc};

use futures_util::FutureExt;
use ratebus_sdk::{NoSession, SessionPass, Sessions, testkit::eventually};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Api, DEADLINE, USER, USER_PASSWORD, Home, folder, plain};

const GROUPS: &[&str] = &["accounts"];

/// One with the account [`USER`].
async fn start() -> Api {
    let api = Api::start(GROUPS).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    api
}

fn sessions(api: &Api) -> Arc<dyn Sessions> {
    api.ctx.sessions().expect("who serves accounts offers sessions")
}

async fn check(api: &Api, token: &str) -> Result<SessionPass, NoSession> {
    sessions(api).check(token).await
}

async fn ends(pass: &SessionPass) {
    timeout(DEADLINE, pass.over()).await.expect("the session ends");
}

fn goes_on(pass: &SessionPass) -> bool {
    pass.over().now_or_never().is_none()
}

async fn v1_login(api: &Api) -> Value {
    let answer = api.post("/v1/auth/login", &json!({ "email": USER, "password": USER_PASSWORD })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_logout_ends_its_session_and_no_other() {
    let api = start().await;
    let [first, second] = [api.token(USER, USER_PASSWORD).await, api.token(USER, USER_PASSWORD).await];
    let [a, b] = [check(&api, &first).await.unwrap(), check(&api, &second).await.unwrap()];
    let again = check(&api, &first).await.unwrap();
    assert!(a.is_same_session(&again) && !a.is_same_session(&b));
    assert_eq!(api.authed(&first, "DELETE", "/logout", None).await.status, 200);
    assert_eq!(check(&api, &first).await.unwrap_err(), NoSession::Refused);
    ends(&a).await;
    assert!(!goes_on(&again) && goes_on(&b));
    for token in ["", "no token", &format!("{second}x")] {
        assert_eq!(check(&api, token).await.unwrap_err(), NoSession::Refused, "{token}");
    }
}

#[tokio::test]
async fn an_account_keeps_its_hundred_newest_sessions() {
    let api = start().await;
    let (admin, first) = (api.admin().await, api.token(USER, USER_PASSWORD).await);
    let rows = api.rows().await;
    let [user] = &rows.texts(&format!("SELECT id FROM users WHERE email = '{USER}'")).await[..] else { panic!() };
    let old: Vec<_> = (0..700).map(|n| format!("('old {n}', '{user}', {n}, 9000000000000000)")).collect();
    rows.execute(&format!("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES {}", old.join(", "))).await;

    v1_login(&api).await;
    let of_user = format!("FROM sessions WHERE user_id = '{user}'");
    assert_eq!(rows.count(&format!("SELECT COUNT(*) {of_user}")).await, 100);
    assert_eq!(rows.count(&format!("SELECT MIN(created_at) {of_user}")).await, 700 - 98);
    check(&api, &first).await.unwrap();
    rows.execute(&format!("UPDATE sessions SET created_at = 1 WHERE user_id = '{user}' AND id NOT LIKE 'old %'")).await;
    let pass = check(&api, &first).await.unwrap();
    api.token(USER, USER_PASSWORD).await;
    v1_login(&api).await;
    ends(&pass).await;
    assert_eq!(rows.count(&format!("SELECT COUNT(*) {of_user}")).await, 100);
    check(&api, &admin).await.unwrap();
}

#[tokio::test]
async fn what_another_instance_ends_is_ended_here() {
    let (folder, more) = (folder(), json!({}));
    let here = Api::start_with(GROUPS, &more, &plain(), &folder).await;
    let there = Api::start_with(GROUPS, &more, &plain(), &folder).await;
    assert_eq!(here.register(USER, USER_PASSWORD).await.status, 200);
    let admin = there.admin().await;
    let login = async || {
        let token = here.token(USER, USER_PASSWORD).await;
        let pass = check(&here, &token).await.unwrap();
        (token, pass)
    };

    let (token, pass) = login().await;
    assert_eq!(there.authed(&token, "DELETE", "/logout", None).await.status, 200);
    ends(&pass).await;

    // A new password ends every session but the one it was set in.
    let ((token, kept), (_, other)) = (login().await, login().await);
    let body = json!({ "currentPassword": USER_PASSWORD, "newPassword": "another horse, correct" }).to_string();
    assert_eq!(there.authed(&token, "POST", "/v1/me/password", Some(&body)).await.status, 204);
    ends(&other).await;
    assert!(goes_on(&kept));

    let me = there.authed(&token, "GET", "/v1/me", None).await.json();
    let path = format!("/v1/users/{}", me["id"].as_str().unwrap());
    assert_eq!(there.authed(&admin, "PATCH", &path, Some(r#"{"disabled":true}"#)).await.status, 200);
    ends(&kept).await;
    assert_eq!(check(&here, &token).await.unwrap_err(), NoSession::Refused);
}

#[tokio::test]
async fn a_refresh_goes_on_and_a_reuse_ends() {
    let api = start().await;
    let before = v1_login(&api).await;
    let pass = check(&api, before["accessToken"].as_str().unwrap()).await.unwrap();
    let shown = json!({ "refreshToken": before["refreshToken"] });
    let after = api.post("/v1/auth/refresh", &shown).await.json();
    let next = check(&api, after["accessToken"].as_str().unwrap()).await.unwrap();
    assert!(pass.is_same_session(&next) && goes_on(&pass));
    assert_eq!(json!(next.expires_at()).as_str().unwrap().get(..19), after["expiresAt"].as_str().unwrap().get(..19));
    // The refresh token is none that lets in.
    let refresh = after["refreshToken"].as_str().unwrap();
    assert_eq!(check(&api, refresh).await.unwrap_err(), NoSession::Refused);
    assert_eq!(api.post("/v1/auth/refresh", &shown).await.status, 401);
    ends(&next).await;
}

#[tokio::test]
async fn a_token_that_runs_out_is_the_end() {
    let more = json!({ "access_token_ttl": "2s" });
    let api = Api::start_with(GROUPS, &more, &plain(), &folder()).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    let token = v1_login(&api).await["accessToken"].as_str().unwrap().to_owned();
    let pass = check(&api, &token).await.unwrap();
    ends(&pass).await;
    // Requests are given some seconds more, for clocks that differ; who is connected is not.
    assert_eq!(check(&api, &token).await.unwrap_err(), NoSession::Refused);
}

#[tokio::test]
async fn without_the_database_nobody_new_is_let_in_and_nobody_is_sent_away() {
    let api = start().await;
    let token = api.token(USER, USER_PASSWORD).await;
    let pass = check(&api, &token).await.unwrap();
    api.folder.database.hide();
    // The first look that fails is what it hears of it.
    eventually("the database is missed", DEADLINE, || !api.ctx.health().state().is_ready()).await;
    assert_eq!(check(&api, &token).await.unwrap_err(), NoSession::Unavailable);
    assert!(goes_on(&pass));
    api.folder.database.show();
    eventually("the database is back", DEADLINE, || api.ctx.health().state().is_ready()).await;
    assert!(goes_on(&pass));
    assert_eq!(api.authed(&token, "DELETE", "/logout", None).await.status, 200);
    ends(&pass).await;
}

#[tokio::test]
async fn a_stop_is_not_the_end_of_sessions() {
    let api = start().await;
    let token = api.token(USER, USER_PASSWORD).await;
    let pass = check(&api, &token).await.unwrap();
    let sessions = sessions(&api);
    api.stop().await.unwrap();
    assert!(goes_on(&pass));
    assert_eq!(sessions.check(&token).await.unwrap_err(), NoSession::Unavailable);
}

/// A file that is another one asks for a restart of the plugin.
#[tokio::test]
async fn a_failure_is_the_end_of_sessions() {
    let api = Api::start_with(GROUPS, &json!({}), &plain(), &Home::with_file()).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    let token = api.token(USER, USER_PASSWORD).await;
    let pass = check(&api, &token).await.unwrap();
    fs::copy(api.folder.path().join("data/ratebus.db"), api.folder.path().join("data/other.db")).unwrap();
    fs::rename(api.folder.path().join("data/other.db"), api.folder.path().join("data/ratebus.db")).unwrap();
    api.ended().await.unwrap_err();
    assert!(!goes_on(&pass));
}

/// Read at each use: who is an administrator no more is none with the next question.
#[tokio::test]
async fn whose_token_is_an_administrators_is_told() {
    let api = start().await;
    let (admin, user) = (api.admin().await, api.token(USER, USER_PASSWORD).await);
    let sessions = sessions(&api);
    assert_eq!(sessions.is_admin(&admin).await, Ok(true));
    assert_eq!(sessions.is_admin(&user).await, Ok(false));
    assert_eq!(sessions.is_admin("x").await, Err(NoSession::Refused));
    api.rows().await.execute("UPDATE users SET role = 'user'").await;
    assert_eq!(sessions.is_admin(&admin).await, Ok(false));
    api.stop().await.unwrap();
    assert_eq!(sessions.is_admin(&admin).await, Err(NoSession::Unavailable));
}
