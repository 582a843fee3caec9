//! Backup and restore with the very commands of the operators' guide, and what is there afterwards.

use std::{fs, path::PathBuf, process::Command};

use ratebus_test_servers::{Client, Kind, Options, Server};
use serde_json::Value;

use crate::harness::{Admin, Launch, Ratebus, eventually, in_project, within};

const DAMAGE: &str = "UPDATE spread_audit SET revision = 7";

#[tokio::test]
async fn a_file_is_saved_while_it_is_used_and_restored() {
    let launch = Launch::as_configured();
    let path = launch.folder().join("data/ratebus.db");
    let url = format!("sqlite://{}", path.display());
    saved_and_restored(&launch, &url, "sqlite3 ", "install -m 600 copy.db ", || {}).await;
}

#[tokio::test]
async fn a_mariadb_is_saved_while_it_is_used_and_restored() {
    let server = Server::start(Kind::MariaDb, Options::default());
    server.sql(None, "CREATE DATABASE ratebus");
    let launch = Launch::as_configured();
    let client = format!("[client]\nhost=127.0.0.1\nport={}\nuser=ratebus\n", server.port());
    fs::write(launch.folder().join(".my.cnf"), client).unwrap();
    let url = format!("mysql://ratebus@127.0.0.1:{}/ratebus", server.port());
    let anew = || _ = server.sql(None, "DROP DATABASE ratebus; CREATE DATABASE ratebus");
    saved_and_restored(&launch, &url, "mariadb-dump ", "mariadb ratebus ", anew).await;
}

#[tokio::test]
async fn a_postgres_is_saved_while_it_is_used_and_restored() {
    let server = Server::start(Kind::Postgres, Options::default());
    let create = "CREATE DATABASE ratebus TEMPLATE template0 ENCODING 'UTF8'";
    server.sql(None, create);
    let launch = Launch::as_configured().variable("PGPORT", &server.port().to_string());
    let url = format!("postgres://ratebus@127.0.0.1:{}/ratebus", server.port());
    let anew = || {
        server.sql(None, "DROP DATABASE ratebus");
        server.sql(None, create);
    };
    saved_and_restored(&launch, &url, "pg_dump ", "pg_restore ", anew).await;
}

/// Saves with the guide's line that begins with `save`, loses a change by going back with the one that begins with
/// `restore`, and looks at what is there.
async fn saved_and_restored(launch: &Launch, url: &str, save: &str, restore: &str, anew: impl Fn()) {
    let launch = launch.clone().set(&format!("plugin.api.config.database={url}")).set("runtime.role=demo");
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let admin = Admin::login(&ratebus).await;
    admin.set_spread("BTC_USD", "1.10", "1.20").await;
    run(&launch, save);
    admin.set_spread("BTC_USD", "9", "9").await;
    ratebus.stop().await;

    anew();
    run(&launch, restore);
    let status = within("migrate --status", launch.command().args(["migrate", "--status"]).output()).await.unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.ends_with(" applied\n") && status.lines().count() == 1, "{status}");
    let migrated = within("migrate", launch.command().arg("migrate").output()).await.unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    assert_eq!(spread(&ratebus).await["buy"]["value"], "1.10");
    Admin::login(&ratebus).await.set_spread("BTC_USD", "2", "2").await;
    assert_eq!(spread(&ratebus).await["revision"], 2);
    // What keeps the history from being changed came back, too.
    assert!(Client::connect(url).await.try_execute(DAMAGE).await.is_err(), "the history can be changed");
}

async fn spread(ratebus: &Ratebus) -> Value {
    let admin = Admin::login(ratebus).await;
    let url = format!("{}/v1/spreads/BTC_USD", ratebus.url("user-api"));
    let request = reqwest::Client::new().get(url).bearer_auth(admin.token());
    eventually("the spread", async || request.try_clone().unwrap().send().await.ok()?.json().await.ok()).await
}

/// Runs the guide's line about backups that begins so, in the folder of the process.
fn run(launch: &Launch, beginning: &str) {
    let line = guide(beginning);
    let home: PathBuf = launch.folder();
    let mut shell = Command::new("sh");
    shell.args(["-euc", &format!("umask 077; {line}")]).current_dir(&home).env("HOME", &home);
    shell.envs([("PGHOST", "127.0.0.1"), ("PGUSER", "ratebus")]).envs(launch.variables());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn guide(beginning: &str) -> String {
    let guide = fs::read_to_string(in_project("docs/operations.md")).unwrap();
    let (_, about) = guide.split_once("## Backup and restore").unwrap();
    let (about, _) = about.split_once("\n## ").unwrap();
    let found = about.lines().find(|line| line.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no line with {beginning}")).to_owned()
}
