//! What is logged at a start. In a process of its own, because `tracing` lets the first thread that logs a line decide
//! whether anybody listens to it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ratebus_http_api::{Config, HttpApi, admin};
use ratebus_sdk::{
    Compat, Env, Factory, Inbox, Sink,
    testkit::{RecordingHost, eventually},
};
use serde_json::json;

/// What a start with this database logs until the plugin is ready.
async fn log_of_a_start(folder: &Path, database: &str) -> String {
    let log = folder.join("log");
    let file = Arc::new(File::create(&log).unwrap());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(file).finish());
    let listeners = BTreeSet::from(["http".to_owned()]);
    let env = Env::new("api".parse().unwrap(), BTreeMap::new().into(), Compat::default().into(), listeners.into(), &[]);
    let config = json!({ "listener": "http", "routes": ["accounts", "spreads"], "database": database });
    let plugin = HttpApi::build(serde_json::from_value::<Config>(config).unwrap(), &env).unwrap();
    let ctx = RecordingHost::new().context("api");
    let run = tokio::spawn(Box::new(plugin).run(Inbox::new(Vec::new()), ctx.clone()));
    eventually("the plugin is ready", Duration::from_secs(20), || ctx.health().state().is_ready()).await;
    ctx.cancel_token().cancel();
    run.await.unwrap().unwrap();
    fs::read_to_string(log).unwrap()
}

#[tokio::test]
async fn a_start_without_an_administrator_tells_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("data/ratebus.db").display());
    let hint = "`ratebus admin create --email YOU`";
    let log = log_of_a_start(folder.path(), &database).await;
    assert_eq!(log.matches(hint).count(), 1, "{log}");
    admin::seed(&database).await.unwrap();
    let log = log_of_a_start(folder.path(), &database).await;
    assert!(log.contains("is ready") && !log.contains(hint), "{log}");
}
