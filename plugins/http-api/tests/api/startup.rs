use ratebus_http_api::admin;
use ratebus_sdk::{
    ErrorKind, Retry,
    model::{Adjustment, Rule, Scope, Sides, Spread, Subject},
    testkit::{RecordingHost, eventually},
};
use ratebus_test_servers::Client;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    harness::{ADMIN, ADMIN_PASSWORD, Api, DEADLINE, database, folder, parse, plain, policy},
    spreads::SPREAD,
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

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
async fn a_database_that_went_away_is_not_written_to() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.folder.database.hide();
    let body = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;
    let answer = api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await;
    answer.problem(503);
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    let health = api.ctx.health().clone();
    eventually("the plugin is not ready", DEADLINE, || !health.state().is_ready()).await;
    assert!(api.published_spreads().is_empty());

    api.folder.database.show();
    assert_eq!(api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.status, 201);
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
        // Before the plugin is started: it gets as far at once as the database answers.
        let host = RecordingHost::new();
        host.context("before").try_publish(&Subject::spread(spread.scope), spread).unwrap();
        Api::launch_on(host, GROUPS, &json!({}), &plain(), &folder)
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

/// As when a server fails over to one that lacks the last change: the next one would get a revision that is in use.
#[tokio::test]
async fn a_database_put_back_under_a_running_instance_is_noticed() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let put = async || api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD)).await.status;
    assert_eq!((put().await, put().await), (201, 200));
    api.rows().await.execute("UPDATE spreads SET revision = 1").await;
    let error = api.ended().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Now), "{error}");
}

#[tokio::test]
async fn a_locked_database_refuses_changes_and_goes_on_reading() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let rows = api.rows().await;
    let lock = rows.lock().await;
    let body = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;
    api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await.problem(503);
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
    lock.release().await;
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
}

/// As in an upgrade: a newer version has added to the schema while this one runs.
#[tokio::test]
async fn a_newer_schema_is_no_hindrance_to_who_runs_and_is_left_alone_by_who_starts() {
    let folder = folder();
    let running = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = running.admin().await;
    let rows = folder.database.client().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999, 'x', TRUE, '', 0)";
    rows.execute(newer).await;
    let put = async || running.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD)).await.status;
    assert_eq!(put().await, 201);
    let before = sizes(&rows).await;
    for migrate in [true, false] {
        let error = Api::launch(GROUPS, &json!({ "migrate": migrate }), &plain(), &folder).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("newer version"), "{error}");
    }
    assert_eq!(sizes(&rows).await, before);
    assert_eq!(put().await, 200);
}

#[tokio::test]
async fn an_older_schema_is_left_alone_and_what_to_do_is_said() {
    let folder = folder();
    let url = database(&folder);
    admin::migrate(&url).await.unwrap();
    let newest = admin::migration_status(&url).await.unwrap().applied;
    let rows = folder.database.client().await;
    rows.execute(&format!("DELETE FROM _sqlx_migrations WHERE version = {newest}")).await;
    let before = sizes(&rows).await;
    let api = Api::launch(GROUPS, &json!({ "migrate": false }), &plain(), &folder);
    let health = api.ctx.health().clone();
    eventually("the plugin is not ready", DEADLINE, || health.state().as_str() == "not_ready").await;
    let reason = format!("{:?}", health.state());
    assert!(reason.contains("1 database migration") && reason.contains("ratebus migrate"), "{reason}");
    assert_eq!(sizes(&rows).await, before);
}

/// How many rows each table has.
async fn sizes(rows: &Client) -> Vec<i64> {
    let tables = [
        "_sqlx_migrations",
        "users",
        "sessions",
        "refresh_tokens",
        "spreads",
        "spread_audit",
        "scheduled_spreads",
        "attempts",
        "write_lock",
    ];
    let mut sizes = Vec::new();
    for table in tables {
        sizes.push(rows.count(&format!("SELECT COUNT(*) FROM {table}")).await);
    }
    sizes
}

/// Another process may do it: `ratebus migrate`, or an instance that may.
#[tokio::test]
async fn without_migrating_a_fresh_database_is_waited_for() {
    let folder = folder();
    let api = Api::launch(GROUPS, &json!({ "migrate": false }), &plain(), &folder);
    let health = api.ctx.health().clone();
    eventually("the plugin is not ready", DEADLINE, || health.state().as_str() == "not_ready").await;
    let reason = format!("{:?}", health.state());
    assert!(reason.contains("ratebus migrate"), "{reason}");
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    let status = admin::migration_status(&database(&folder)).await.unwrap();
    assert_eq!((status.applied, status.pending[0]), (0, (1, "users")));
    admin::migrate(&database(&folder)).await.unwrap();
    eventually("the plugin is ready", DEADLINE, || health.state().is_ready()).await;
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
