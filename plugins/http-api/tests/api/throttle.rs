use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, extract::ConnectInfo, http::Request};
use ratebus_http_api::{Config, admin};
use ratebus_test_servers::Client;
use serde_json::{Value, json};

use crate::{
    accounts::join_all,
    harness::{Answer, Api, Home, USER, USER_PASSWORD, database, folder, plain, policy, registration},
};

const GROUPS: &[&str] = &["accounts"];
const HOME: &str = "192.0.2.1:50000";
const ELSEWHERE: &str = "198.51.100.7:50000";
const WRONG: &str = "wrong password";

/// One with the limits that it has by default.
async fn start(folder: &Arc<Home>) -> Api {
    Api::start_with(GROUPS, &json!({ "login_attempts": 5, "registrations_per_hour": 10 }), &plain(), folder).await
}

/// One with the account [`USER`], which never logged in.
async fn with_user() -> (Api, Client) {
    let api = start(&folder()).await;
    api.register(USER, USER_PASSWORD).await.envelope(200, "Registered successfully");
    let rows = api.rows().await;
    (api, rows)
}

async fn post(api: &Api, peer: &str, path: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json").header("x-request-id", "test-1");
    // Anybody can claim to be anybody.
    let request = request.header("x-forwarded-for", peer).header("forwarded", format!("for={peer}"));
    let peer: SocketAddr = peer.parse().unwrap();
    api.send(request.extension(ConnectInfo(peer)).body(Body::from(body.to_string())).unwrap()).await
}

async fn login(api: &Api, peer: &str, email: &str, password: &str) -> Answer {
    post(api, peer, "/login", &json!({ "email": email, "password": password })).await
}

fn refused(answer: &Answer, seconds: u64) {
    let unit = if seconds == 1 { "second" } else { "seconds" };
    answer.envelope(429, &format!("Too many attempts, try again in {seconds} {unit}"));
    assert_eq!(answer.header("retry-after"), seconds.to_string());
}

/// Logs in with a wrong password so many times, each time refused for that alone.
async fn fail(api: &Api, peer: &str, email: &str, times: usize) {
    for _ in 0..times {
        login(api, peer, email, WRONG).await.envelope(401, "Invalid credentials");
    }
}

async fn execute(rows: &Client, sql: &'static str) {
    rows.execute(sql).await;
}

/// Makes every wait as long as it was at first, however slow this test is: its start has not come yet.
async fn freeze(rows: &Client) {
    execute(rows, "UPDATE attempts SET last_at = last_at + 86400000000, expires_at = expires_at + 86400000000").await;
}

/// Lets this time and the frozen one pass.
async fn pass(rows: &Client, time: Duration) {
    let micros = i64::try_from((Duration::from_hours(24) + time).as_micros()).unwrap();
    rows.execute(&format!("UPDATE attempts SET last_at = last_at - {micros}, expires_at = expires_at - {micros}"))
        .await;
}

async fn count(rows: &Client) -> i64 {
    rows.count("SELECT COUNT(*) FROM attempts").await
}

#[test]
fn by_default_five_logins_may_fail_and_ten_registrations_be_made() {
    let config: Config = serde_json::from_value(json!({ "listener": "http", "routes": ["accounts"] })).unwrap();
    assert_eq!((config.login_attempts, config.registrations_per_hour), (5, 10));
}

#[tokio::test]
async fn the_sixth_failure_waits_whether_there_is_such_an_account_or_not() {
    let (api, rows) = with_user().await;
    let mut told = Vec::new();
    for (email, peer) in [(USER, HOME), ("nobody@example.com", ELSEWHERE)] {
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(login(&api, peer, email, WRONG).await);
        }
        freeze(&rows).await;
        for password in [WRONG, USER_PASSWORD] {
            let answer = login(&api, peer, &email.to_uppercase(), password).await;
            refused(&answer, 1);
            answers.push(answer);
        }
        assert!(answers[..5].iter().all(|answer| answer.status == 401));
        told.push(answers.into_iter().map(|answer| (answer.status, answer.text, answer.headers)).collect::<Vec<_>>());
        pass(&rows, Duration::from_secs(1)).await;
    }
    assert_eq!(told[0], told[1]);
    // Once the delay is over the right password is right.
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
}

#[tokio::test]
async fn the_delay_grows_and_a_success_ends_it() {
    let (api, rows) = with_user().await;
    fail(&api, HOME, USER, 4).await;
    for delay in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        fail(&api, HOME, USER, 1).await;
        freeze(&rows).await;
        refused(&login(&api, HOME, USER, USER_PASSWORD).await, delay);
        pass(&rows, Duration::from_secs(delay)).await;
    }
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    fail(&api, HOME, USER, 5).await;
}

#[tokio::test]
async fn an_attacker_elsewhere_does_not_lock_the_owner_out() {
    let (api, rows) = with_user().await;
    fail(&api, ELSEWHERE, USER, 5).await;
    freeze(&rows).await;
    refused(&login(&api, ELSEWHERE, USER, USER_PASSWORD).await, 1);
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    // Nor does the owner's success let the attacker go on.
    refused(&login(&api, ELSEWHERE, USER, USER_PASSWORD).await, 1);
}

#[tokio::test]
async fn attempts_at_the_same_moment_are_counted_too() {
    let (api, rows) = with_user().await;
    fail(&api, ELSEWHERE, USER, 1).await;
    // The next delay is longer than this test takes.
    execute(&rows, "UPDATE attempts SET tries = 14, last_at = last_at - 3600000000 WHERE counter = 'login'").await;
    let answers = join_all((0..20).map(|_| login(&api, ELSEWHERE, USER, WRONG))).await;
    let with = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((with(401), with(429)), (1, 19));
}

#[tokio::test]
async fn counters_survive_a_restart_and_hold_for_every_instance() {
    let folder = folder();
    let (one, two) = (start(&folder).await, start(&folder).await);
    fail(&one, HOME, USER, 3).await;
    fail(&two, HOME, USER, 2).await;
    let rows = one.rows().await;
    freeze(&rows).await;
    refused(&login(&one, HOME, USER, WRONG).await, 1);
    refused(&login(&two, HOME, USER, WRONG).await, 1);
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    refused(&login(&start(&folder).await, HOME, USER, WRONG).await, 1);
}

#[tokio::test]
async fn after_a_hundred_failures_from_anywhere_an_account_waits_except_where_it_is_known() {
    let (api, rows) = with_user().await;
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    fail(&api, ELSEWHERE, USER, 1).await;
    execute(&rows, "UPDATE attempts SET tries = 99 WHERE account <> '' AND address = ''").await;
    fail(&api, "[2001:db8::1]:1", USER, 1).await;
    freeze(&rows).await;
    refused(&login(&api, "[2001:db8:1::1]:1", USER, USER_PASSWORD).await, 900);
    refused(&login(&api, ELSEWHERE, USER, USER_PASSWORD).await, 900);
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    login(&api, ELSEWHERE, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");

    // A known address with failures of its own waits like any other.
    fail(&api, HOME, USER, 5).await;
    execute(&rows, "UPDATE attempts SET tries = 100 WHERE account <> '' AND address = ''").await;
    freeze(&rows).await;
    refused(&login(&api, HOME, USER, USER_PASSWORD).await, 900);
}

#[tokio::test]
async fn an_address_may_fail_fifty_times_over_all_accounts() {
    let (api, rows) = with_user().await;
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    fail(&api, HOME, "a@example.com", 1).await;
    execute(&rows, "UPDATE attempts SET tries = 49 WHERE account = '' AND counter = 'login'").await;
    // A success is no failure, and no amnesty.
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    fail(&api, HOME, "b@example.com", 1).await;
    freeze(&rows).await;
    refused(&login(&api, HOME, "c@example.com", WRONG).await, 900);
    fail(&api, ELSEWHERE, "c@example.com", 1).await;
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    pass(&rows, Duration::from_mins(15)).await;
    fail(&api, HOME, "c@example.com", 1).await;
}

#[tokio::test]
async fn an_address_registers_ten_accounts_an_hour() {
    let api = start(&folder()).await;
    let rows = api.rows().await;
    let register =
        async |peer: &str, email: &str| post(&api, peer, "/register", &registration(email, USER_PASSWORD)).await;
    // What is refused before the address is looked at does not count; one that is taken does.
    for _ in 0..3 {
        post(&api, HOME, "/register", &json!({})).await.faults();
    }
    register(HOME, USER).await.envelope(200, "Registered successfully");
    for index in 1..10 {
        let peer = format!("[2001:db8:0:1::{index}]:{index}");
        assert_eq!(register(HOME, USER).await.status, 422);
        register(&peer, &format!("user{index}@example.com")).await.envelope(200, "Registered successfully");
    }
    register("[2001:db8:0:1::99]:1", "tenth@example.com").await.envelope(200, "Registered successfully");
    freeze(&rows).await;
    for peer in [HOME, "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[2001:db8:0:1:ffff::]:1"] {
        refused(&register(peer, "more@example.com").await, 3600);
        refused(&register(peer, USER).await, 3600);
    }
    register("[2001:db8:0:2::1]:1", "more@example.com").await.envelope(200, "Registered successfully");
    // Registering and logging in have limits of their own.
    login(&api, HOME, USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    pass(&rows, Duration::from_hours(1)).await;
    register(HOME, "again@example.com").await.envelope(200, "Registered successfully");
}

#[tokio::test]
async fn a_stolen_session_does_not_help_to_guess_the_password() {
    let (api, rows) = with_user().await;
    let token = api.token(USER, USER_PASSWORD).await;
    let change = async |current: &str| {
        let body = json!({ "currentPassword": current, "newPassword": "another good one" }).to_string();
        api.authed(&token, "POST", "/v1/me/password", Some(&body)).await
    };
    for _ in 0..5 {
        change(WRONG).await.problem(422);
    }
    freeze(&rows).await;
    let answer = change(USER_PASSWORD).await;
    assert_eq!(answer.problem(429), "too many attempts; try again in 1 second");
    assert_eq!(answer.header("retry-after"), "1");
    refused(&api.login(USER, USER_PASSWORD).await, 1);
    pass(&rows, Duration::from_secs(1)).await;
    assert_eq!(change(USER_PASSWORD).await.status, 204);
    assert_eq!(change(WRONG).await.status, 422);
    api.login(USER, "another good one").await.envelope(200, "You're loggedin");
}

#[tokio::test]
async fn who_gets_a_password_from_an_operator_need_not_wait() {
    let (api, rows) = with_user().await;
    for peer in [HOME, ELSEWHERE] {
        fail(&api, peer, USER, 5).await;
    }
    fail(&api, ELSEWHERE, "b@example.com", 5).await;
    freeze(&rows).await;
    refused(&login(&api, HOME, USER, USER_PASSWORD).await, 1);
    let new = "a password from an operator";
    admin::reset_password(&database(&api.folder), USER, new.into(), &policy()).await.unwrap();
    for peer in [HOME, ELSEWHERE] {
        login(&api, peer, USER, new).await.envelope(200, "You're loggedin");
    }
    refused(&login(&api, ELSEWHERE, "b@example.com", WRONG).await, 1);
}

/// What an answer says of the limit: the policy and what is left of it.
fn told(answer: &Answer) -> (&str, &str) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[tokio::test]
async fn every_answer_tells_what_is_left_before_there_is_a_wait() {
    const LOGIN: &str = r#""login";q=5;w=86400"#;
    let (api, rows) = with_user().await;
    // A day is told in seconds, rounded up, so that the time this test takes does not show.
    for left in (1..5).rev() {
        for email in [USER, "nobody@example.com"] {
            let answer = login(&api, HOME, email, WRONG).await;
            assert_eq!((answer.status, told(&answer)), (401, (LOGIN, &*format!(r#""login";r={left};t=86400"#))));
        }
    }
    // The same counters whichever route is taken.
    let answer = post(&api, HOME, "/v1/auth/login", &json!({ "email": USER, "password": WRONG })).await;
    assert_eq!((answer.status, told(&answer)), (401, (LOGIN, r#""login";r=0;t=1"#)));
    freeze(&rows).await;
    let answer = login(&api, HOME, USER, USER_PASSWORD).await;
    assert_eq!((answer.status, told(&answer)), (429, (LOGIN, r#""login";r=0;t=1"#)));
    assert_eq!(answer.header("retry-after"), "1");
    let answer = post(&api, HOME, "/v1/auth/login", &json!({ "email": USER, "password": WRONG })).await;
    assert_eq!((answer.status, told(&answer)), (429, (LOGIN, r#""login";r=0;t=1"#)));
    pass(&rows, Duration::from_secs(1)).await;
    let answer = login(&api, HOME, USER, USER_PASSWORD).await;
    assert_eq!((answer.status, told(&answer)), (200, (LOGIN, r#""login";r=5"#)));

    // What an address has left over all accounts may be less.
    execute(&rows, "UPDATE attempts SET tries = 47 WHERE account = '' AND counter = 'login'").await;
    assert_eq!(told(&login(&api, HOME, "c@example.com", WRONG).await).1, r#""login";r=2;t=86400"#);
    // Nothing was counted of what could not be read.
    assert_eq!(told(&login(&api, HOME, "c", "1").await), ("", ""));
}

#[tokio::test]
async fn registrations_and_changes_of_a_password_tell_their_limits_too() {
    const REGISTRATION: &str = r#""registration";q=10;w=3600"#;
    let (api, rows) = with_user().await;
    let taken = post(&api, HOME, "/register", &registration(USER, USER_PASSWORD)).await;
    assert_eq!((taken.status, told(&taken)), (422, (REGISTRATION, r#""registration";r=9;t=3600"#)));
    let made = post(&api, HOME, "/register", &registration("b@example.com", USER_PASSWORD)).await;
    assert_eq!((made.status, told(&made).0), (200, REGISTRATION));
    assert!(told(&made).1.starts_with(r#""registration";r=8;t="#), "{made:?}");
    execute(&rows, "UPDATE attempts SET tries = 10 WHERE counter = 'registration'").await;
    freeze(&rows).await;
    let refused = post(&api, HOME, "/register", &registration("c@example.com", USER_PASSWORD)).await;
    assert_eq!((refused.status, told(&refused)), (429, (REGISTRATION, r#""registration";r=0;t=3600"#)));

    let session = api.token(USER, USER_PASSWORD).await;
    let change = async |current: &str| {
        let body = json!({ "currentPassword": current, "newPassword": "another good one" }).to_string();
        let answer = api.authed(&session, "POST", "/v1/me/password", Some(&body)).await;
        (answer.status, told(&answer).1.to_owned())
    };
    assert_eq!(change(WRONG).await, (422, r#""login";r=4;t=86400"#.to_owned()));
    assert_eq!(change(USER_PASSWORD).await, (204, r#""login";r=5"#.to_owned()));
    assert_eq!(told(&api.authed(&session, "GET", "/v1/me", None).await), ("", ""));
}

#[tokio::test]
async fn what_counts_no_more_is_forgotten() {
    let (api, rows) = with_user().await;
    execute(&rows, "DELETE FROM attempts").await;
    for index in 0..4 {
        fail(&api, HOME, &format!("user{index}@example.com"), 1).await;
    }
    assert_eq!(count(&rows).await, 4 * 2 + 1);
    freeze(&rows).await;
    pass(&rows, Duration::from_hours(24)).await;
    fail(&api, ELSEWHERE, USER, 1).await;
    assert_eq!(count(&rows).await, 3);
}
