use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ratebus_http_api::{Config, HttpApi, PasswordPolicy, admin};
use ratebus_sdk::{
    ErrorKind, Factory, Inbox, Sink,
    model::{Adjustment, Rule, Scope, Sides, Spread, Subject},
    testkit::{RecordingHost, eventually},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Api, DEADLINE, USER_PASSWORD, build, database, folder, parse, plain, policy,
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn problems(config: Value) -> Vec<String> {
    let config: Config = serde_json::from_value(config).unwrap();
    let error = HttpApi::build(config, &plain()).err().expect("the config is refused");
    error.problems.into_iter().map(|problem| problem.key).collect()
}

#[test]
fn every_problem_of_the_config_is_reported() {
    assert_eq!(HttpApi::TYPE, "sink/http-api");
    let bad = json!({ "listener": "nope", "routes": ["rates", "quotes", "rates", "spreads"], "database": "oracle://x",
        "token_ttl": "0s", "access_token_ttl": "16m", "min_password": 7, "min_admin_password": 6,
        "password_hash": { "memory_kib": 19455, "iterations": 1, "lanes": 0 }, "login_attempts": 0, "registrations_per_hour": 0 });
    assert_eq!(
        problems(bad),
        [
            "listener",
            "routes.2",
            "routes",
            "token_ttl",
            "access_token_ttl",
            "min_password",
            "min_admin_password",
            "password_hash.memory_kib",
            "password_hash.iterations",
            "password_hash.lanes",
            "login_attempts",
            "registrations_per_hour",
            "database"
        ]
    );
    assert_eq!(problems(json!({ "listener": "http", "routes": [] })), ["routes"]);
    let good = json!({ "listener": "http", "routes": ["rates"] });
    assert!(HttpApi::build(serde_json::from_value(good).unwrap(), &plain()).is_ok());
    for unknown in
        [json!({ "listener": "http", "routes": [], "x": 1 }), json!({ "listener": "http", "routes": ["admin"] })]
    {
        assert!(serde_json::from_value::<Config>(unknown).is_err());
    }
}

#[test]
fn an_administrators_password_is_not_the_shorter_one() {
    let shortest = |more: Value| {
        let mut config = json!({ "listener": "http", "routes": ["accounts"] });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        PasswordPolicy::of(&serde_json::from_value(config).unwrap()).map(|policy| policy.min_admin()).ok()
    };
    assert_eq!(shortest(json!({})), Some(15));
    assert_eq!(shortest(json!({ "min_password": 20 })), Some(20));
    assert_eq!(shortest(json!({ "min_admin_password": 8 })), Some(8));
    assert_eq!(shortest(json!({ "min_password": 10, "min_admin_password": 10 })), Some(10));
    assert_eq!(shortest(json!({ "min_password": 10, "min_admin_password": 9 })), None);
    assert_eq!(shortest(json!({ "min_admin_password": 257 })), None);
}

#[tokio::test]
async fn rates_need_no_database() {
    let api = Api::start(&["rates", "health"]).await;
    assert_eq!(fs::read_dir(api.folder.path()).unwrap().count(), 0);
    assert!(api.stop().await.is_ok());
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let api = Api::start(GROUPS).await;
    api.user().await;
    let data = api.folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["jwt.key", "ratebus.db", "ratebus.db-shm", "ratebus.db-wal"]);
}

#[tokio::test]
async fn an_open_database_is_a_wrong_config_and_refused_later_too() {
    let folder = folder();
    let first = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    first.stop().await.unwrap();
    let path = folder.path().join("data/ratebus.db");
    let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o640);
    let config = json!({ "listener": "http", "routes": GROUPS, "database": database(&folder) });
    let error = HttpApi::build(serde_json::from_value(config.clone()).unwrap(), &plain()).err().unwrap().to_string();
    assert!(error.starts_with("database: ") && error.contains("ratebus.db") && error.contains("chmod 600"), "{error}");
    // Opened after it was built.
    set_mode(0o600);
    let plugin = Box::new(build(config, &plain()));
    set_mode(0o640);
    let error = plugin.run(Inbox::new(Vec::new()), RecordingHost::new().context("api")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("ratebus.db") && error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_key_that_nobody_can_sign_with_is_a_wrong_config() {
    let folder = folder();
    let path = folder.path().join("jwt.key");
    let config =
        json!({ "listener": "http", "routes": GROUPS, "database": database(&folder), "signing_key_file": path });
    let refusal = |key: &str, mode: u32| {
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let config: Config = serde_json::from_value(config.clone()).unwrap();
        HttpApi::build(config, &plain()).err().map(|error| error.to_string())
    };
    let good = "0123456789abcdef0123456789abcdef";
    for (key, mode, words) in
        [("secret", 0o600, "no usable key"), (&*"x".repeat(40), 0o600, "no usable key"), (good, 0o644, "chmod 600")]
    {
        let message = refusal(key, mode).unwrap();
        assert!(message.starts_with("signing_key_file: ") && message.contains(words), "{message}");
        assert!(!message.contains(key), "{message}");
    }
    assert_eq!(refusal(good, 0o600), None);
    // One is made at the first start, and not by looking at the config.
    fs::remove_file(&path).unwrap();
    assert!(HttpApi::build(serde_json::from_value(config).unwrap(), &plain()).is_ok() && !path.exists());
}

#[tokio::test]
async fn accounts_tokens_and_spreads_survive_a_restart() {
    let folder = folder();
    let first = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = first.admin().await;
    let put = async |api: &Api, scope: &str, value: &str| {
        let body = json!({ "buy": { "value": value }, "sell": { "value": value, "unit": "percent" } }).to_string();
        api.authed(&admin, "PUT", &format!("/v1/spreads/{scope}"), Some(&body)).await.status
    };
    assert_eq!((put(&first, "*", "0").await, put(&first, "BTC_USD", "1.10").await), (201, 201));
    assert_eq!(first.authed(&admin, "DELETE", "/v1/spreads/*", None).await.status, 204);
    first.stop().await.unwrap();

    let second = Api::launch(GROUPS, &json!({}), &plain(), &folder);
    let health = second.ctx.health().clone();
    eventually("the plugin is ready", DEADLINE, || health.state().is_ready()).await;
    // What the database has is on the bus before the plugin calls itself ready, what was removed included.
    let rule = Rule::from_markup(Sides {
        buy: Adjustment::absolute(parse("1.10")),
        sell: Adjustment { unit: ratebus_sdk::model::Unit::Percent, value: parse("1.10") },
    });
    let published: Vec<_> = second.published_spreads().iter().map(|s| (s.scope, s.revision, s.rule)).collect();
    assert_eq!(published, [(Scope::All, 2, None), (Scope::Pair(parse("BTC_USD")), 1, Some(rule))]);
    assert_eq!(second.host.messages().last().unwrap().subject, Subject::spreads_known());
    assert_eq!(second.authed(&admin, "GET", "/v1/spreads/BTC_USD", None).await.status, 200);
}

#[tokio::test]
async fn without_a_database_everything_that_needs_it_fails_closed() {
    let folder = folder();
    // A file where the folder should be: the database cannot be opened for now.
    fs::write(folder.path().join("data"), "").unwrap();
    let api = Api::launch(GROUPS, &json!({}), &plain(), &folder);
    let health = api.ctx.health().clone();
    eventually("the plugin is not ready", DEADLINE, || health.state().as_str() == "not_ready").await;
    api.quote("BTC_USD", "1", "2", None);
    assert_eq!(api.get("/v1/rates").await.status, 200);
    let answers = [
        api.register("a@example.com", USER_PASSWORD).await,
        api.login("a@example.com", USER_PASSWORD).await,
        api.authed("x.y.z", "DELETE", "/logout", None).await,
        api.authed("x.y.z", "POST", "/settings/update-rates", Some("{}")).await,
    ];
    for answer in answers {
        answer.envelope(503, "Service temporarily unavailable");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let answer = api.authed("x.y.z", "GET", "/v1/spreads", None).await;
    assert_eq!(answer.problem(503), "temporarily unavailable; try again in a moment");

    // It comes back by itself.
    fs::remove_file(folder.path().join("data")).unwrap();
    eventually("the plugin is ready", DEADLINE, || health.state().is_ready()).await;
    assert_eq!(api.register("a@example.com", USER_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_database_that_went_away_is_not_written_to() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let (here, away) = (api.folder.path().join("data/ratebus.db"), api.folder.path().join("data/away.db"));
    fs::rename(&here, &away).unwrap();
    let body = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;
    let answer = api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await;
    answer.problem(503);
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    let health = api.ctx.health().clone();
    eventually("the plugin is not ready", DEADLINE, || !health.state().is_ready()).await;
    assert!(api.published_spreads().is_empty());

    fs::rename(&away, &here).unwrap();
    assert_eq!(api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.status, 201);
}

#[tokio::test]
async fn a_database_that_was_replaced_asks_for_a_restart() {
    let api = Api::start(GROUPS).await;
    let here = api.folder.path().join("data/ratebus.db");
    fs::rename(&here, here.with_extension("old")).unwrap();
    fs::write(&here, "").unwrap();
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    assert_eq!(api.ended().await.unwrap_err().kind(), ErrorKind::Connect);
}

/// Prices go by the highest revision: what an older database says next would be answered and change nothing.
#[tokio::test]
async fn a_database_that_lacks_spreads_in_use_is_refused() {
    let folder = folder();
    let first = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = first.admin().await;
    let body = r#"{"buy":{"value":"1.10"},"sell":{"value":"1"}}"#;
    assert_eq!(first.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.status, 201);
    let stored = first.published_spreads()[0].as_ref().clone();
    first.stop().await.unwrap();

    let start_after = |spread: Spread| {
        let api = Api::launch(GROUPS, &json!({}), &plain(), &folder);
        api.ctx.try_publish(&Subject::spread(spread.scope), spread).unwrap();
        api
    };
    let other =
        Rule::from_markup(Sides { buy: Adjustment::absolute(parse("2")), sell: Adjustment::absolute(parse("2")) });
    for newer in [
        Spread { revision: 2, ..stored.clone() },
        Spread { scope: Scope::All, ..stored.clone() },
        Spread { rule: Some(other), ..stored.clone() },
    ] {
        let error = start_after(newer).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("lacks spreads that are in use"), "{error}");
    }
    let api = start_after(stored);
    let health = api.ctx.health().clone();
    eventually("the plugin is ready", DEADLINE, || health.state().is_ready()).await;
}

#[tokio::test]
async fn a_locked_database_refuses_changes_and_goes_on_reading() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let other = sqlx::SqlitePool::connect(&database(&api.folder)).await.unwrap();
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let body = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;
    api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.problem(503);
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
    lock.rollback().await.unwrap();
    assert_eq!(api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.header("etag"), "\"1\"");
    assert_eq!(api.published_spreads().len(), 1);
}

#[tokio::test]
async fn migrations_run_once_and_never_backwards() {
    let folder = folder();
    let url = database(&folder);
    let (one, two) = tokio::join!(admin::migrate(&url), admin::migrate(&url));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (first, second) = if one.already == 0 { (one, two) } else { (two, one) };
    assert_eq!((first.applied[0], first.already), ((1, "users"), 0));
    assert_eq!((second.applied.len(), second.already), (0, first.applied.len()));

    let other = sqlx::SqlitePool::connect(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&other).await.unwrap();
    other.close().await;
    for migrate in [true, false] {
        let error = Api::launch(GROUPS, &json!({ "migrate": migrate }), &plain(), &folder).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}

#[tokio::test]
async fn without_migrating_a_fresh_database_is_refused() {
    let error = Api::launch(GROUPS, &json!({ "migrate": false }), &plain(), &folder()).ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("ratebus migrate"), "{error}");
}

#[tokio::test]
async fn administrators_are_made_at_the_command_line() {
    let folder = folder();
    let url = database(&folder);
    let refused = async |email: &str, password: &str| {
        admin::create_admin(&url, email, password.into(), &policy()).await.unwrap_err().to_string()
    };
    assert_eq!(refused(ADMIN, "14 characters!").await, "The password must not be less than 15 characters");
    assert_eq!(refused(ADMIN, "ratebus admin@example.com").await, "The password is too easy to guess");
    assert!(refused("nobody", ADMIN_PASSWORD).await.contains("not an e-mail address"));
    admin::create_admin(&url, " Admin@Example.com", ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    assert_eq!(refused(ADMIN, ADMIN_PASSWORD).await, "admin@example.com has an account already");

    let seeded = admin::seed(&url, &policy()).await.unwrap();
    let names: Vec<_> = seeded.iter().map(|account| (account.email, account.role)).collect();
    assert_eq!(names, [("alice@example.com", "user"), ("bob@example.com", "user")]);
    assert!(admin::seed(&url, &policy()).await.unwrap().is_empty());
    assert!(!format!("{seeded:?}").contains(seeded[0].password.expose_secret()));

    let api = Api::start_with(GROUPS, &json!({ "token_ttl": "2s" }), &plain(), &folder).await;
    let alice = api.token(seeded[0].email, seeded[0].password.expose_secret()).await;
    assert_eq!(api.authed(&alice, "GET", "/v1/spreads", None).await.status, 403);
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(200, "You're loggedin");
}
