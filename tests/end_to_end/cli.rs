//! The commands beside `run`.

use std::{process::Stdio, sync::Arc};

use ratebus_test_servers::{Database, Kind, Options, Server};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{EMAIL, Launch, PASSWORD, Ratebus, eventually, silence, started, within};

/// Runs a command to its end: exit code, standard output, standard error.
async fn run(launch: &Launch, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let mut command = launch.command();
    command.args(args).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its standard input may have closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    let output = within("the command", child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn version_help_and_wrong_arguments() {
    let launch = Launch::new();
    let (code, out, _) = run(&launch, &["--version"], "").await;
    assert_eq!((code, out), (Some(0), format!("ratebus {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = run(&launch, &["--help"], "").await;
    assert_eq!(code, Some(0));
    for command in ["run", "demo", "check", "health", "plugins", "migrate", "seed", "admin", "Exit codes", "Examples"] {
        assert!(out.contains(command), "{command}: {out}");
    }
    for wrong in [&["fly"][..], &["check", "--set", "log.filter"], &["check", "--set", "=debug"]] {
        assert_eq!(run(&launch, wrong, "").await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn check_tells_about_every_role() {
    let (code, out, _) = run(&Launch::new(), &["check"], "").await;
    assert_eq!(code, Some(0));
    for role in ["all", "demo", "exchange-rate", "user-api"] {
        assert!(out.contains(&format!("role {role}: ")), "{out}");
    }
    let (code, _, err) = run(&Launch::new().set("plugin.replay.config.file=nowhere.jsonl"), &["check"], "").await;
    assert_eq!(code, Some(78));
    assert!(err.contains("plugin.replay.config.file: ") && err.contains("nowhere.jsonl"), "{err}");
    let (code, _, err) = run(&Launch::new().set("runtime.role=nobody"), &["check"], "").await;
    assert_eq!(code, Some(78), "the role that would be run is checked too");
    assert!(err.contains("no role \"nobody\""), "{err}");
}

#[tokio::test]
async fn health_tells_whether_the_process_is_ready_and_why_not() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url());
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("metrics");
    let asked = run(&launch, &["health", "--url", &url], "").await;
    assert_eq!(asked, (Some(0), "ready\n".to_owned(), String::new()));

    // Where it listens is in the config: of the role, or of all.
    let listen = format!("metrics.listen={}", url.trim_start_matches("http://"));
    assert_eq!(run(&launch, &["health", "--set", &listen], "").await.0, Some(0));
    let listen = format!("role.user-api.{listen}");
    assert_eq!(run(&launch, &["health", "--role", "user-api", "--set", &listen], "").await.0, Some(0));
    let (code, _, err) = run(&launch, &["health"], "").await;
    assert_eq!((code, err.contains("--url")), (Some(1), true), "{err}");
    let (code, _, err) = run(&launch, &["health", "--role", "nobody"], "").await;
    assert_eq!((code, err.contains("no role \"nobody\"")), (Some(1), true), "{err}");

    silence(&exchange);
    let (code, out, err) = eventually("the loss to be noticed", async || {
        Some(run(&launch, &["health", "--url", &url], "").await).filter(|(code, ..)| *code != Some(0))
    })
    .await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("not ready (503 Service Unavailable)") && err.contains("kraken is"), "{err}");

    ratebus.kill().await;
    let (code, _, err) = run(&launch, &["health", "--url", &url], "").await;
    assert_eq!((code, err.contains("does not answer")), (Some(1), true), "{err}");
    let (code, _, err) = run(&launch, &["health", "--url", "https://127.0.0.1:1"], "").await;
    assert_eq!((code, err.contains("expected http://")), (Some(1), true), "{err}");
}

#[tokio::test]
async fn plugins_lists_types_versions_and_origin() {
    let (code, out, _) = run(&Launch::new(), &["plugins"], "").await;
    assert_eq!(code, Some(0));
    for name in [
        "sink/broadcast",
        "sink/http-api",
        "sink/redis",
        "sink/spread",
        "source/binance",
        "source/bitstamp",
        "source/coinbase",
        "source/coinmarketcap",
        "source/http-json",
        "source/kraken",
        "source/kraken-rest",
        "source/okx",
        "source/redis",
        "source/replay",
        "source/ws-json",
    ] {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(env!("CARGO_PKG_VERSION")) && line.contains("built in"), "{line}");
    }
}

#[tokio::test]
async fn the_database_is_migrated_and_seeded_by_hand() {
    migrate_and_seed(&Launch::new()).await;
}

#[tokio::test]
async fn a_server_is_migrated_and_seeded_by_hand_and_its_password_is_never_shown() {
    // It looks like a number, and one that would lose its zero.
    const PASSWORD: &str = "0918273645";
    let postgres = Arc::new(Server::start(Kind::Postgres, Options::default()));
    let maria = Server::start(Kind::MariaDb, Options::default());
    let account = "ratebus@'127.0.0.1'";
    maria.sql(None, &format!("CREATE DATABASE ratebus; ALTER USER {account} IDENTIFIED BY '{PASSWORD}'"));
    let urls =
        [Database::on(&postgres).url().to_owned(), format!("mariadb://ratebus@127.0.0.1:{}/ratebus", maria.port())];
    for url in urls {
        let launch = Launch::new().set(&format!("plugin.api.config.database={url}"));
        let launch = launch.variable("RATEBUS_PLUGIN__API__CONFIG__DATABASE_PASSWORD", PASSWORD);
        migrate_and_seed(&launch).await;
        let (code, out, err) = run(&launch, &["check"], "").await;
        assert_eq!(code, Some(0), "{err}");
        assert!(!format!("{out}{err}").contains(PASSWORD));
        let exchange = started().await;
        let ratebus = launch.exchange(&exchange.url()).set("log.filter=trace").start().await;
        ratebus.ready("user-api").await;
        assert!(!ratebus.log_lines("sqlx").is_empty(), "everything is logged");
        assert_eq!(ratebus.log_lines(PASSWORD), [""; 0]);
    }
}

async fn migrate_and_seed(launch: &Launch) {
    let (code, out, err) = run(launch, &["migrate", "--status"], "").await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("pending"), "{out}");
    let (code, _, err) = run(launch, &["migrate"], "").await;
    assert_eq!(code, Some(0), "{err}");
    let (_, out, _) = run(launch, &["migrate", "--status"], "").await;
    assert!(!out.contains("pending"), "{out}");
    let (code, out, err) = run(launch, &["seed"], "").await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("admin@"), "{out}");
}

#[tokio::test]
async fn an_admin_is_made_with_a_password_from_standard_input() {
    let launch = Launch::new();
    let create = ["admin", "create", "--email", EMAIL];
    let (code, out, err) = run(&launch, &create, &format!("{PASSWORD}\n")).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(EMAIL) && !out.contains(PASSWORD), "{out}");
    let (code, _, err) = run(&launch, &create, &format!("{PASSWORD}\n")).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("has an account already"), "{err}");
    let (code, _, err) = run(&launch, &["admin", "create", "--email", "other@example.com"], "short\n").await;
    assert_eq!(code, Some(1));
    assert!(err.contains("15"), "{err}");
    assert_eq!(run(&launch, &["admin", "create", "--email", "nobody"], &format!("{PASSWORD}\n")).await.0, Some(1));

    let longer = launch.set("plugin.api.config.min_admin_password=60");
    let other = ["admin", "create", "--email", "other@example.com"];
    let (code, _, err) = run(&longer, &other, &format!("{PASSWORD}\n")).await;
    assert_eq!((code, err.contains("less than 60 characters")), (Some(1), true), "{err}");
    let weaker = longer.set("plugin.api.config.password_hash.iterations=1");
    let (code, _, err) = run(&weaker, &other, &format!("{PASSWORD}\n")).await;
    assert_eq!((code, err.contains("password_hash.iterations: expected between 2 and 32")), (Some(78), true), "{err}");
}

#[tokio::test]
async fn an_account_is_promoted_and_gets_another_password() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.10", "20000.20");
    let launch = Launch::new().exchange(&exchange.url());
    let (code, _, err) = run(&launch, &["admin", "promote", "--email", EMAIL], "").await;
    assert_eq!(code, Some(1));
    assert!(err.contains("admin@example.com has no account"), "{err}");

    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let (client, url) = (reqwest::Client::new(), ratebus.url("user-api"));
    let old = "an old passphrase";
    let registration =
        json!({ "firstName": "Ann", "lastName": "Other", "email": EMAIL, "password": old, "confirmPassword": old });
    assert_eq!(client.post(format!("{url}/register")).json(&registration).send().await.unwrap().status(), 200);
    let login = async |password: &str| {
        let credentials = json!({ "email": EMAIL, "password": password });
        client.post(format!("{url}/login")).json(&credentials).send().await.unwrap()
    };
    let session: Value = login(old).await.json().await.unwrap();
    let session = session["data"]["token"]["token"].as_str().unwrap();
    let spreads = async || client.get(format!("{url}/v1/spreads")).bearer_auth(session).send().await.unwrap().status();

    assert_eq!(spreads().await, 403);
    let (code, out, err) = run(&launch, &["admin", "promote", "--email", EMAIL], "").await;
    assert_eq!((code, out.contains("is an administrator now")), (Some(0), true), "{err}");
    assert_eq!(spreads().await, 200);

    let reset = ["admin", "reset-password", "--email", EMAIL];
    let (code, _, err) = run(&launch, &reset, "short\n").await;
    assert_eq!((code, err.contains("15")), (Some(1), true), "{err}");
    assert_eq!(spreads().await, 200);
    let (code, out, err) = run(&launch, &reset, &format!("{PASSWORD}\n")).await;
    assert_eq!((code, out.contains(PASSWORD)), (Some(0), false), "{err}");
    assert_eq!(spreads().await, 401);
    assert_eq!((login(old).await.status().as_u16(), login(PASSWORD).await.status().as_u16()), (401, 200));
}

#[tokio::test]
async fn the_demo_needs_no_network_and_leaves_nothing_behind() {
    let launch = Launch::new().arg("demo");
    let ratebus: Ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    ratebus.logged("the config is plugins.toml (built in)").await;
    let password = ratebus.logged("password").await;
    assert!(password.trim().len() > "password".len() + 15, "{password}");
    let port = ratebus.url("user-api").rsplit_once(':').unwrap().1.to_owned();
    ratebus.logged(&format!("open http://localhost:{port}/")).await;
    let rates: Value = reqwest::get(format!("{}/rates", ratebus.url("user-api"))).await.unwrap().json().await.unwrap();
    assert!(rates["data"]["BTC_USD"]["withSpread"].is_object(), "{rates}");
    ratebus.signal("TERM");
    let (status, _) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_dir(launch.folder()).unwrap().count(), 0);
}
