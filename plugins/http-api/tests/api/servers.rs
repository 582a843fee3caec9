//! What only a server can do: go away, hang, be locked, and be one for several instances.

use std::sync::Arc;

use futures_util::future::join_all;
use ratebus_http_api::{DatabaseUrl, admin};
use ratebus_sdk::{ErrorKind, testkit::eventually};
use ratebus_test_servers::{Kind, Options, Server};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    KIND,
    harness::{ADMIN, ADMIN_PASSWORD, Api, DEADLINE, Home, USER, USER_PASSWORD, folder, plain, policy},
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];
const PATH: &str = "/v1/spreads/BTC_USD";
const SPREAD: &str = r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#;

/// A server that a test may harm.
fn own_server(options: Options) -> (Arc<Server>, Arc<Home>) {
    let server = Arc::new(Server::start(KIND, options));
    let home = Home::on(&server);
    (server, home)
}

async fn start(home: &Arc<Home>) -> Api {
    Api::start_with(GROUPS, &json!({}), &plain(), home).await
}

async fn put(api: &Api, token: &str) -> u16 {
    api.authed(token, "PUT", PATH, Some(SPREAD)).await.status
}

async fn is_ready(api: &Api) {
    eventually("the plugin is ready", DEADLINE, || api.ctx.health().state().is_ready()).await;
}

#[tokio::test]
async fn a_killed_server_is_waited_for() {
    let (server, home) = own_server(Options { durable: true, tls: false });
    let api = start(&home).await;
    let admin = api.admin().await;
    assert_eq!(put(&api, &admin).await, 201);
    api.quote("BTC_USD", "1000", "1001", None);
    for _ in 0..2 {
        server.kill();
        api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
        api.register(USER, USER_PASSWORD).await.envelope(503, "Service temporarily unavailable");
        assert_eq!(put(&api, &admin).await, 503);
        eventually("the plugin is not ready", DEADLINE, || !api.ctx.health().state().is_ready()).await;
        assert_eq!(api.get("/v1/rates").await.status, 200);
        assert_eq!(api.published_spreads().len(), 1);
        server.restart();
        is_ready(&api).await;
        assert_eq!(api.authed(&admin, "GET", PATH, None).await.header("etag"), "\"1\"");
    }
    assert_eq!(put(&api, &admin).await, 200);
    assert_eq!(api.published_spreads().len(), 2);
}

#[tokio::test]
async fn a_server_may_come_later() {
    let (server, home) = own_server(Options { durable: true, tls: false });
    server.kill();
    let api = Api::launch(GROUPS, &json!({}), &plain(), &home);
    eventually("the plugin is not ready", DEADLINE, || api.ctx.health().state().as_str() == "not_ready").await;
    api.login(ADMIN, ADMIN_PASSWORD).await.envelope(503, "Service temporarily unavailable");
    server.restart();
    is_ready(&api).await;
    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for_and_does_nothing_later() {
    let (server, home) = own_server(Options::default());
    let api = start(&home).await;
    let admin = api.admin().await;
    server.signal("STOP");
    assert_eq!(put(&api, &admin).await, 503);
    server.signal("CONT");
    is_ready(&api).await;
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
    // The connections that hung were given up, and new ones are made.
    eventually_put(&api, &admin).await;
    assert_eq!(api.authed(&admin, "GET", PATH, None).await.header("etag"), "\"1\"");
}

/// Sets the spread as soon as that is possible again.
async fn eventually_put(api: &Api, admin: &str) {
    let set = async { while put(api, admin).await != 201 {} };
    tokio::time::timeout(DEADLINE, set).await.expect("the spread can be set");
}

#[tokio::test]
async fn a_locked_table_is_not_waited_for() {
    let (server, home) = own_server(Options::default());
    let api = start(&home).await;
    let admin = api.admin().await;
    let name = home.database.name().to_owned();
    let lock = match KIND {
        Kind::MariaDb => "LOCK TABLES spreads WRITE; SELECT SLEEP(8)",
        _ => "BEGIN; LOCK TABLE spreads IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8); COMMIT",
    };
    let locker = tokio::task::spawn_blocking(move || server.sql(Some(&name), lock));
    // The lock is there once reading fails.
    let refused = async { while api.authed(&admin, "GET", "/v1/spreads", None).await.status != 503 {} };
    tokio::time::timeout(DEADLINE, refused).await.expect("the table is locked");
    assert_eq!(put(&api, &admin).await, 503);
    locker.await.unwrap();
    is_ready(&api).await;
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
    eventually_put(&api, &admin).await;
}

#[tokio::test]
async fn of_writers_on_two_instances_one_wins() {
    let home = folder();
    let (one, two) = (start(&home).await, start(&home).await);
    let admin = one.admin().await;
    assert_eq!(put(&one, &admin).await, 201);
    for revision in 1..6 {
        let condition = format!("\"{revision}\"");
        let condition = [("if-match", condition.as_str())];
        let tries = [&one, &two, &one, &two].map(|api| api.conditional(&admin, "PUT", PATH, Some(SPREAD), &condition));
        let mut statuses: Vec<u16> = join_all(tries).await.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412]);
        for api in [&one, &two] {
            let etag = api.authed(&admin, "GET", PATH, None).await.header("etag").to_owned();
            assert_eq!(etag, format!("\"{}\"", revision + 1));
        }
    }
    // What was set on the other one is used for prices here too.
    eventually("both have published the last one", DEADLINE, || {
        [&one, &two].iter().all(|api| api.published_spreads().last().is_some_and(|spread| spread.revision == 6))
    })
    .await;
}

/// Stands between the plugin and the server, and cuts the connection over which a `COMMIT` comes.
async fn cutter(port: u16, passes_it_on: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
                loop {
                    tokio::select! {
                        read = client.read(&mut asked) => {
                            let Ok(length @ 1..) = read else { return };
                            let text = asked[..length].strip_suffix(b"\0").unwrap_or(&asked[..length]);
                            let is_commit = text.ends_with(b"COMMIT");
                            if is_commit && !passes_it_on {
                                return;
                            }
                            server.write_all(&asked[..length]).await.unwrap();
                            if is_commit {
                                // It has done it by then, and nobody hears of it.
                                assert!(server.read(&mut answered).await.unwrap() > 0);
                                return;
                            }
                        }
                        read = server.read(&mut answered) => {
                            let Ok(length @ 1..) = read else { return };
                            if client.write_all(&answered[..length]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn after_a_commit_without_an_answer_the_truth_is_read_back() {
    let (server, home) = own_server(Options::default());
    let first = start(&home).await;
    let admin = first.admin().await;
    first.stop().await.unwrap();
    for was_done in [false, true] {
        let through = cutter(server.port(), was_done).await;
        let url = home.database.url().replace(&server.port().to_string(), &through.to_string());
        let api = Api::start_with(GROUPS, &json!({ "database": url }), &plain(), &home).await;
        assert_eq!(put(&api, &admin).await, 503);
        if was_done {
            eventually("it is published", DEADLINE, || api.published_spreads().len() == 1).await;
            assert_eq!(api.authed(&admin, "GET", PATH, None).await.header("etag"), "\"1\"");
        } else {
            assert_eq!(api.authed(&admin, "GET", PATH, None).await.status, 404);
            assert!(api.published_spreads().is_empty());
        }
        api.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_proves_its_name() {
    let (server, home) = own_server(Options { durable: false, tls: true });
    let secret = "canary-5d1e";
    let name = home.database.name();
    server.sql(None, &match KIND {
        Kind::MariaDb => format!(
            "CREATE USER tls@'127.0.0.1' IDENTIFIED BY '{secret}' REQUIRE SSL; GRANT ALL ON {name}.* TO tls@'127.0.0.1'"
        ),
        _ => format!("CREATE ROLE tls LOGIN SUPERUSER PASSWORD '{secret}'"),
    });
    let scheme = if KIND == Kind::MariaDb { "mysql" } else { "postgres" };
    let (key, modes) = match KIND {
        Kind::MariaDb => ("ssl-ca", ["DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]),
        _ => ("sslrootcert", ["disable", "require", "verify-ca", "verify-full"]),
    };
    let [plain, encrypted, _, verified] = modes;
    let migrate = async |host: &str, mode: &str, ca: bool| {
        let ca = if ca { format!("&{key}={}", server.ca_file().display()) } else { String::new() };
        let url = format!("{scheme}://tls@{host}:{}/{name}?sslmode={mode}{ca}", server.port());
        admin::migrate(&DatabaseUrl::new(&url, Some(&secret.into())).unwrap()).await
    };
    assert!(migrate("localhost", verified, true).await.is_ok());
    assert!(migrate("localhost", encrypted, false).await.is_ok());
    for (host, mode, ca) in [("localhost", verified, false), ("127.0.0.1", verified, true)] {
        let error = migrate(host, mode, ca).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
    // The account of MariaDB's asks for TLS; that of Postgres may be anybody's here.
    assert_eq!(migrate("localhost", plain, false).await.is_ok(), KIND == Kind::Postgres);
}

#[tokio::test]
async fn serving_needs_no_right_to_change_the_schema() {
    let (server, home) = own_server(Options::default());
    admin::migrate(&home.database.url().parse().unwrap()).await.unwrap();
    let name = home.database.name();
    let scheme = if KIND == Kind::MariaDb { "mysql" } else { "postgres" };
    match KIND {
        Kind::MariaDb => server.sql(
            None,
            &format!(
                "CREATE USER small@'127.0.0.1'; GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO small@'127.0.0.1'"
            ),
        ),
        _ => server.sql(
            Some(name),
            "CREATE ROLE small LOGIN; \
                                     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO small",
        ),
    };
    let url = format!("{scheme}://small@127.0.0.1:{}/{name}", server.port());
    let api = Api::start_with(GROUPS, &json!({ "database": url, "migrate": null }), &plain(), &home).await;
    let url = url.parse().unwrap();
    admin::create_admin(&url, ADMIN, ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    assert_eq!(put(&api, &api.token(ADMIN, ADMIN_PASSWORD).await).await, 201);
    assert!(admin::migrate(&url).await.is_err());
}

/// MySQL and MariaDB commit each statement that changes the schema: what died in the middle is for people to look at.
#[tokio::test]
async fn a_migration_that_did_not_end_is_reported() {
    if KIND != Kind::MariaDb {
        return;
    }
    let home = folder();
    let url: DatabaseUrl = home.database.url().parse().unwrap();
    admin::migrate(&url).await.unwrap();
    let rows = home.database.client().await;
    rows.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 10").await;
    assert_eq!(admin::migration_status(&url).await.unwrap().broken, Some(10));
    let error = admin::migrate(&url).await.unwrap_err().to_string();
    assert!(error.contains("0010 spread_audit_reason"), "{error}");
    for config in [json!({ "migrate": true }), json!({ "migrate": false })] {
        let ended = Api::launch(GROUPS, &config, &plain(), &home).ended().await.unwrap_err();
        assert_eq!((ended.kind(), ended.to_string()), (ErrorKind::Config, error.clone()));
    }
    // As it says.
    let (_, rest) = error.split_once("else \"").unwrap();
    rows.execute(rest.split('"').next().unwrap()).await;
    assert!(admin::migrate(&url).await.unwrap().applied.is_empty());
}
