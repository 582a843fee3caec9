use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ratebus_http_api::HttpApi;
use ratebus_sdk::{
    ErrorKind, Factory, Inbox, Sink,
    testkit::{RecordingHost, eventually},
};
use serde_json::json;

use crate::harness::{ADMIN, ADMIN_PASSWORD, Api, DEADLINE, USER_PASSWORD, build, folder, plain};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
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
    let config = json!({ "listener": "http", "routes": GROUPS, "database": folder.database.url() });
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

#[tokio::test]
async fn rates_need_no_database() {
    let api = Api::start(&["rates", "health"]).await;
    assert_eq!(fs::read_dir(api.folder.path()).unwrap().count(), 0);
    assert!(api.stop().await.is_ok());
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
async fn a_database_that_was_replaced_asks_for_a_restart() {
    let api = Api::start(GROUPS).await;
    let here = api.folder.path().join("data/ratebus.db");
    fs::rename(&here, here.with_extension("old")).unwrap();
    fs::write(&here, "").unwrap();
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    assert_eq!(api.ended().await.unwrap_err().kind(), ErrorKind::Connect);
}
