//! Faults from outside: the exchange misbehaves, signals come, nobody reads the log.

use std::{collections::HashMap, os::unix::fs::PermissionsExt, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

use crate::harness::{Admin, Launch, WebSocket, eventually, metric, quote_over_http, silence, started, within};

#[tokio::test]
async fn an_unreachable_exchange_is_named_and_tried_again_until_it_is_there() {
    let mut exchange = started().await;
    exchange.go_down().await;
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    let line = ratebus.logged("Connection refused").await;
    assert!(line.contains(&exchange.url()), "{line}");
    exchange.come_back().await;
    ratebus.ready("user-api").await;
}

#[tokio::test]
async fn a_silent_feed_turns_stale_then_dead_and_comes_back() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.1", "20000.2");
    let launch = Launch::new()
        .exchange(&exchange.url())
        .set("plugin.kraken.config.pairs=[\"BTC_USD\"]")
        .set("plugin.kraken.config.stall_after=500ms")
        .set("plugin.kraken.config.stale_after=1s")
        .set("plugin.kraken.config.dead_after=5s");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let mut socket = WebSocket::connect(&url, "").await;
    let fresh = socket.until("BTC_USD", |quote| quote["status"] == "fresh").await;
    silence(&exchange);
    let stale = socket.until("BTC_USD", |quote| quote["status"] == "stale").await;
    assert_eq!(stale["original"], fresh["original"], "stale is shown, and marked");
    let dead = socket.until("BTC_USD", |quote| quote["status"] == "dead").await;
    assert_eq!((&dead["original"], &dead["customer"]), (&Value::Null, &Value::Null));
    assert_eq!(reqwest::get(format!("{url}/v1/rates/BTC_USD")).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(format!("{url}/rates/BTC_USD")).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(format!("{url}/livez")).await.unwrap().status(), 200);
    exchange.refuse_handshakes(None);
    let back = socket.until("BTC_USD", |quote| quote["status"] == "fresh").await;
    assert_eq!(back["epoch"], fresh["epoch"]);
    assert!(back["sequence"].as_u64() > dead["sequence"].as_u64());
}

#[tokio::test]
async fn no_bad_price_is_ever_served() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.1", "20000.2");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let bad = [
        ("20001", "20000"),
        ("0", "20000"),
        ("20000", "0"),
        ("-1", "20000"),
        ("1e308", "1e308"),
        ("200001", "200002"),
        ("null", "20000"),
        ("\"20000\"", "[]"),
        ("2000", "2000.1"),
    ];
    for (bid, ask) in bad {
        exchange.tick("BTC/USD", bid, ask);
    }
    exchange.send_text("{\"channel\":\"ticker\",\"type\":\"upd");
    exchange.send_text("CloudFlare is no JSON");
    exchange.tick("ETH/USD", "2650.03", "2650.04");
    eventually("the tick behind the bad ones", || async {
        (quote_over_http(&url, "ETH_USD").await["original"]["buy"] == "2650.04").then_some(())
    })
    .await;
    let quote = quote_over_http(&url, "BTC_USD").await;
    assert_eq!(quote["original"]["buy"], "20000.2");
    assert!(ratebus.metric("ratebus_ticks_refused_total").await >= 6, "every refusal is counted");
}

#[tokio::test]
async fn a_signal_drains_and_says_goodbye() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.1", "20000.2");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let mut socket = WebSocket::connect(&ratebus.url("user-api"), "").await;
    socket.next().await;
    ratebus.signal("TERM");
    assert_eq!(socket.closed().await, 1012);
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
}

#[tokio::test]
async fn a_blocked_log_does_not_block_the_service() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url()).set("log.filter=trace");
    let mut command = launch.command();
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Reads until it knows the port, then never again: the pipe fills up within moments at trace level.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut urls = HashMap::new();
    while let Some(line) = within("a log line", lines.next_line()).await.unwrap() {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if let (Some(listener), Some(address)) = (line["listener"].as_str(), line["address"].as_str()) {
            urls.insert(listener.to_owned(), format!("http://{address}"));
        }
        if line["message"] == "ratebus runs" {
            break;
        }
    }
    let (url, operators) = (&urls["user-api"], &urls["metrics"]);
    // Every frame writes lines at this level: first they fill the pipe, then the queue before it.
    eventually("dropped lines to be counted", || async {
        for cents in 10..90 {
            exchange.tick("BTC/USD", "20000.05", &format!("20000.{cents}"));
        }
        (metric(operators, "ratebus_log_lines_dropped_total").await > 0).then_some(())
    })
    .await;
    exchange.tick("BTC/USD", "20000.05", "20000.95");
    eventually("the newest price", || async {
        (quote_over_http(url, "BTC_USD").await["original"]["buy"] == "20000.95").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_its_database_there_is_no_customer_price_and_rates_go_on() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url()).set("plugin.api.config.database=sqlite:///proc/ratebus.db");
    let ratebus = launch.start().await;
    let url = ratebus.url("user-api");
    let mut socket = WebSocket::connect(&url, "").await;
    let quote = socket.until("BTC_USD", |quote| quote["status"] == "fresh").await;
    assert_eq!((&quote["customer"], &quote["withheld"]), (&Value::Null, &Value::from("spreads_unknown")));
    let live: Value = reqwest::get(format!("{url}/rates")).await.unwrap().json().await.unwrap();
    assert_eq!(live["data"], serde_json::json!({}), "old clients see no pair without a customer price");
    let login = reqwest::Client::new().post(format!("{url}/login"));
    let login = login.json(&serde_json::json!({ "email": "a@example.com", "password": "long enough" }));
    assert_eq!(login.send().await.unwrap().status(), 503);
    assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(format!("{url}/livez")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_file_descriptors_it_waits_quietly_and_recovers() {
    let exchange = started().await;
    let ratebus = Launch::new().exchange(&exchange.url()).most_files(64).start().await;
    ratebus.ready("user-api").await;
    let address = ratebus.url("user-api").replace("http://", "");
    // One connection is there already and stays.
    let client = reqwest::Client::new();
    let failures = async || {
        let metrics = client.get(format!("{}/metrics", ratebus.url("metrics"))).send().await.ok()?.text().await.ok()?;
        let line = metrics.lines().find(|line| line.starts_with("ratebus_accept_errors_total"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    failures().await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(TcpStream::connect(&address).await.unwrap());
    }
    eventually("some failures", async || failures().await.filter(|number| *number >= 4)).await;
    ratebus.logged("could not be accepted").await;
    assert_eq!(ratebus.log_lines("could not be accepted").len(), 1);
    drop(others);
    ratebus.ready("user-api").await;
}

#[tokio::test]
async fn a_database_that_is_mended_is_used_again_without_a_restart() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url());
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    // Somebody puts a copy in its place that everybody may read.
    let (database, copy) = (launch.folder().join("ratebus.db"), launch.folder().join("copy.db"));
    let mode = |mode| PermissionsExt::from_mode(mode);
    std::fs::copy(&database, &copy).unwrap();
    std::fs::set_permissions(&copy, mode(0o644)).unwrap();
    std::fs::rename(&copy, &database).unwrap();
    let refused = ratebus.logged("open to others than its owner").await;
    assert!(refused.contains("ratebus.db") && refused.contains("WARN"), "{refused}");
    std::fs::set_permissions(&database, mode(0o600)).unwrap();
    ratebus.ready("user-api").await;
    Admin::login(&ratebus).await;
}
