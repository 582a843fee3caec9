use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Output},
};

use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions, Kind, Options, Server};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::{is_ours, is_root, others, services, texts};
use crate::harness::{Launch, eventually, in_project, within};

/// The password of brokers and databases where there is no `.env`.
const PASSWORD: &str = "local-only";

#[tokio::test]
async fn the_services_run_together_with_the_environment_they_are_given() {
    let Some(secrets) = secrets() else { return };
    let redis =
        Broker::start(BrokerKind::Redis, BrokerOptions { password: Some(PASSWORD), ..BrokerOptions::default() });
    let mysql = database(Kind::MariaDb, secrets.path());
    let account = "ratebus@'127.0.0.1'";
    let user = format!("ALTER USER {account} IDENTIFIED BY '{PASSWORD}' REQUIRE SSL");
    mysql.sql(None, &format!("FLUSH SSL; CREATE DATABASE ratebus; {user}"));
    let redis_address = redis.url_with(None).replace("redis://", "");
    let places = [("redis:6379", redis_address.clone()), ("mysql:3306", format!("localhost:{}", mysql.port()))];
    let services = services();
    run_together(&services, secrets.path(), &places).await;

    let port = redis_address.rsplit(':').next().unwrap();
    assert_healthy(&services["redis"], &["-p", port], PASSWORD, true);
    assert_healthy(&services["redis"], &["-p", port], "wrong", false);
    assert_dies_with(&mysql, &services["mysql"]);
}

#[tokio::test]
async fn the_services_run_together_on_the_other_broker_and_database() {
    let Some(secrets) = secrets() else { return };
    let nats = Broker::start(BrokerKind::Nats, BrokerOptions { password: Some(PASSWORD), ..BrokerOptions::default() });
    let postgres = database(Kind::Postgres, secrets.path());
    postgres.sql(None, "SELECT pg_reload_conf()");
    postgres.sql(None, "CREATE DATABASE ratebus TEMPLATE template0 ENCODING 'UTF8'");
    let nats_address = nats.url_with(None).replace("nats://", "");
    let places = [("nats:4222", nats_address), ("postgres:5432", format!("localhost:{}", postgres.port()))];
    let (_, services) = others(PASSWORD);
    run_together(&services, secrets.path(), &places).await;
    assert_dies_with(&postgres, &services["postgres"]);
}

/// What the service `secrets` makes. None without the right to give files to others, as it does.
fn secrets() -> Option<TempDir> {
    if !is_root() {
        println!("SKIPPED: giving files to others, as the service `secrets` does, needs root");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    make_secrets(folder.path(), &texts(&services()["secrets"]["command"])[1..]);
    Some(folder)
}

/// Runs `migrate` and both roles with their environment, in which `places` says where others are instead.
async fn run_together(services: &Map<String, Value>, secrets: &Path, places: &[(&str, String)]) {
    let secrets = format!("{}/", secrets.display());
    let launch = |name: &str| {
        let environment = services[name]["environment"].as_object().unwrap();
        environment.iter().fold(Launch::as_configured(), |launch, (name, value)| {
            let value = value.as_str().unwrap().replace("/secrets/", &secrets);
            launch.variable(name, &places.iter().fold(value, |value, (there, here)| value.replace(there, here)))
        })
    };
    let migrate = launch("migrate");
    let output = migrate.command().args(texts(&services["migrate"]["command"])).output();
    assert_success(&within("migrate", output).await.unwrap());

    let replay = r#"role.exchange-rate.plugins=["replay","rates-http"]"#;
    let exchange_rate = launch("exchange-rate-service").set(replay).start().await;
    exchange_rate.ready("exchange-rate").await;
    let user_api = launch("user-api-service").start().await;
    // Its rates come over the broker, signed.
    user_api.ready("user-api").await;
    let url = format!("{}/v1/rates/BTC_USD", user_api.url("user-api"));
    eventually("a rate", || async { reqwest::get(&url).await.unwrap().error_for_status().ok() }).await;
    for running in [&exchange_rate, &user_api] {
        let url = running.url("metrics");
        eventually("health", || async {
            let output = Command::new(env!("CARGO_BIN_EXE_ratebus")).args(["health", "--url", &url]).output().unwrap();
            output.status.success().then_some(())
        })
        .await;
    }
}

/// As the service `secrets`, for the names it is given and for this machine's.
fn make_secrets(folder: &Path, names: &[String]) {
    let run = || {
        let mut script = Command::new("sh");
        script.arg(in_project("docker/secrets.sh")).arg(folder).arg("localhost").args(names);
        assert_success(&script.output().unwrap());
        ["ca.pem", "server.pem", "server.key", "bus.key"].map(|name| fs::read(folder.join(name)).unwrap())
    };
    let made = run();
    assert_eq!(made, run(), "they are made once");
    for (file, mode) in [("ca.pem", 0o644), ("server.pem", 0o644), ("server.key", 0o600), ("bus.key", 0o600)] {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().mode() & 0o777, mode, "{file}");
    }
    let (ca, certificate) = (folder.join("ca.pem"), folder.join("server.pem"));
    for name in names {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"]);
        assert_success(&openssl.arg(&ca).arg(&certificate).output().unwrap());
    }
}

/// A server with the certificate, once it looks at it again. MariaDB stands for MySQL.
fn database(kind: Kind, secrets: &Path) -> Server {
    let server = Server::start(kind, Options { tls: true, ..Options::default() });
    let theirs = server.ca_file().parent().unwrap().to_owned();
    for (made, used) in [("ca.pem", "ca.pem"), ("server.pem", "cert.pem"), ("server.key", "key.pem")] {
        fs::copy(secrets.join(made), theirs.join(used)).unwrap();
    }
    server
}

/// The service's check says that the server is well, and no longer once it is killed.
fn assert_dies_with(server: &Server, service: &Value) {
    let port = format!("--port={}", server.port());
    assert_healthy(service, &[&port], "", true);
    server.kill();
    assert_healthy(service, &[&port], "", false);
}

/// Runs a service's own check here, with arguments that say where.
fn assert_healthy(service: &Value, place: &[&str], password: &str, expected: bool) {
    assert!(!is_ours(service));
    let test = texts(&service["healthcheck"]["test"]);
    assert_eq!(test[0], "CMD");
    let output = Command::new(&test[1]).args(place).args(&test[2..]).env("REDISCLI_AUTH", password).output().unwrap();
    assert_eq!(output.status.success(), expected, "{test:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
