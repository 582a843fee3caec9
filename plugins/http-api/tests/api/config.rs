use std::{fs, os::unix::fs::PermissionsExt};

use ratebus_http_api::{Config, HttpApi, PasswordPolicy};
use ratebus_sdk::Factory;
use serde_json::{Value, json};

use crate::harness::{folder, plain};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

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
        "password_hash": { "memory_kib": 19455, "iterations": 1, "lanes": 0 }, "login_attempts": 0, "registrations_per_hour": 0,
        "max_waiting": 0 });
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
            "max_waiting",
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
fn the_password_of_a_database_comes_from_a_private_file_and_is_never_shown() {
    const CANARY: &str = "canary-91c4";
    let folder = folder();
    let path = folder.path().join("password");
    fs::write(&path, format!("{CANARY}\n")).unwrap();
    let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let build = |more: Value| {
        let mut config = json!({ "listener": "http", "routes": GROUPS, "database": "postgres://me@db.example/name" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(config).unwrap();
        assert!(!format!("{config:?}").contains(CANARY), "{config:?}");
        let problem = HttpApi::build(config, &plain()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!problem.contains(CANARY), "{problem}");
        problem
    };
    set_mode(0o600);
    assert_eq!(build(json!({ "database_password_file": path })), "");
    assert_eq!(build(json!({ "database_password": CANARY })), "");
    assert_eq!(build(json!({ "database": format!("mysql://me:{CANARY}@db.example/name") })), "");
    let refused = |more: Value, words: &str| {
        let problem = build(more);
        assert!(problem.contains(words), "{problem}");
    };
    refused(json!({}), "database_password: ");
    refused(json!({ "database_password": CANARY, "database_password_file": path }), "database_password_file: ");
    refused(json!({ "database": format!("mysql://me:{CANARY}@db.example/name?tls=1") }), "\"tls\"");
    refused(json!({ "database_password_file": folder.path().join("nothing") }), "database_password_file: ");
    set_mode(0o640);
    refused(json!({ "database_password_file": path }), "chmod 600");
    set_mode(0o600);
    fs::write(&path, "\n").unwrap();
    refused(json!({ "database_password_file": path }), "is empty");
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

#[test]
fn a_key_that_nobody_can_sign_with_is_a_wrong_config() {
    let folder = folder();
    let path = folder.path().join("jwt.key");
    let config =
        json!({ "listener": "http", "routes": GROUPS, "database": folder.database.url(), "signing_key_file": path });
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
