//! SIGHUP: the config is read again, and taken over as a whole or not at all, while clients stay.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tokio::net::unix::pipe;

use crate::harness::{Admin, Launch, Ratebus, WebSocket, eventually, in_project, started};

/// The shipped config with these changes of its text.
fn config(edits: &[(&str, &str)]) -> String {
    let shipped = fs::read_to_string(in_project("plugins.toml")).unwrap();
    edits.iter().fold(shipped, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

fn write(launch: &Launch, text: &str) {
    fs::write(launch.folder().join("plugins.toml"), text).unwrap();
}

/// Tells the process to read its config again, and waits until it has.
async fn reload(ratebus: &Ratebus, outcome: &str) {
    let before = ratebus.metric_of("ratebus_config_reloads_total", outcome).await;
    ratebus.signal("HUP");
    eventually(&format!("a reload that is {outcome}"), || async {
        (ratebus.metric_of("ratebus_config_reloads_total", outcome).await > before).then_some(())
    })
    .await;
}

const PAIRS: (&str, &str) =
    (r#"pairs = ["BTC_USD", "ETH_USD", "SOL_USD", "EUR_USD", "DOGE_USD"]"#, r#"pairs = ["BTC_USD"]"#);
const MORE_PAIRS: (&str, &str) =
    (PAIRS.0, "pairs = [\"BTC_USD\", \"ETH_USD\"]\nstale_after = \"2s\"\nstall_after = \"1s\"");

#[tokio::test]
async fn pairs_sources_and_prices_change_and_no_client_is_dropped() {
    let [first, second] = [started().await, started().await];
    first.list("BTC/USD", "100.00", "101.00");
    first.list("ETH/USD", "10.00", "10.10");
    second.list("BTC/USD", "200.00", "201.00");
    let launch = Launch::new().set("plugin.kraken.config.max_jump_percent=0").exchange(&first.url());
    write(&launch, &config(&[PAIRS]));
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let mut client = WebSocket::connect(&ratebus.url("user-api"), "").await;
    client.see("BTC_USD", |quote| quote["customer"]["buy"] == "101.00").await;

    write(&launch, &config(&[MORE_PAIRS]));
    reload(&ratebus, "taken_over").await;
    client.see("ETH_USD", |quote| quote["customer"]["buy"] == "10.10").await;

    let pricing = [
        MORE_PAIRS,
        (r#"default = { buy = "0", sell = "0" }"#, r#"default = { buy = "5.50", sell = "0" }"#),
        ("[role.all]", "[pairs.BTC_USD]\nprice_step = \"1\"\n[role.all]"),
    ];
    write(&launch, &config(&pricing));
    reload(&ratebus, "taken_over").await;
    client.see("BTC_USD", |quote| quote["customer"]["buy"] == "107" && quote["status"] == "fresh").await;
    let pairs: Value =
        reqwest::get(format!("{}/v1/pairs", ratebus.url("user-api"))).await.unwrap().json().await.unwrap();
    assert_eq!(pairs["pairs"][0]["priceStep"], "1", "{pairs}");

    let other = format!(
        "[plugin.other]\nuse = \"source/kraken\"\nconfig = {{ endpoint = \"{}\", pairs = [\"BTC_USD\"] }}\n[plugin.kraken]",
        second.url()
    );
    let exchanged = [
        pricing[0],
        pricing[1],
        pricing[2],
        ("[plugin.kraken]", other.as_str()),
        (r#"plugins = ["kraken", "rates-http", "spread""#, r#"plugins = ["other", "rates-http", "spread""#),
    ];
    write(&launch, &config(&exchanged));
    reload(&ratebus, "taken_over").await;
    client.see("BTC_USD", |quote| quote["source"] == "other" && quote["customer"]["buy"] == "207").await;
    let ready: Value = reqwest::get(format!("{}/readyz", ratebus.url("user-api"))).await.unwrap().json().await.unwrap();
    assert!(ready["plugins"]["kraken"].is_null(), "{ready}");
    assert_eq!(ready["plugins"]["other"], "ready");
}

#[tokio::test]
async fn a_config_that_cannot_be_taken_over_changes_nothing() {
    let exchange = started().await;
    exchange.list("BTC/USD", "100.00", "101.00");
    let launch = Launch::new().exchange(&exchange.url());
    write(&launch, &config(&[PAIRS]));
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let mut client = WebSocket::connect(&ratebus.url("user-api"), "").await;
    client.see("BTC_USD", |quote| quote["customer"]["buy"] == "101.00").await;

    let good = config(&[MORE_PAIRS]);
    let half = &good[..good.len() / 2];
    let unknown = config(&[MORE_PAIRS, ("stale_after", "stale_afer")]);
    let settled = config(&[
        MORE_PAIRS,
        ("max_markup_percent = 50", "max_markup_percent = 40"),
        ("shutdown_grace = \"10s\"", "shutdown_grace = \"9s\""),
    ]);
    for (number, (text, told)) in (1..).zip([
        ("role = [", "plugins.toml:1"),
        ("", "plugin.api.use: missing"),
        (half, "as before: "),
        (&unknown, "plugin.kraken.config.stale_afer: unknown key"),
        (&settled, "these need a restart: runtime, plugin.api"),
    ]) {
        write(&launch, text);
        reload(&ratebus, "refused").await;
        assert_eq!(ratebus.metric("ratebus_config_reload_failed").await, 1);
        eventually(&format!("a refusal that tells {told:?}"), || async {
            let refusals = ratebus.log_lines("refused, everything goes on as before");
            (refusals.len() == number && refusals.last()?.contains(told)).then_some(())
        })
        .await;
    }
    fs::remove_file(launch.folder().join("plugins.toml")).unwrap();
    fs::create_dir(launch.folder().join("plugins.toml")).unwrap();
    reload(&ratebus, "refused").await;
    fs::remove_dir(launch.folder().join("plugins.toml")).unwrap();
    let pairs: Value =
        reqwest::get(format!("{}/v1/pairs", ratebus.url("user-api"))).await.unwrap().json().await.unwrap();
    assert_eq!(pairs["pairs"].as_array().unwrap().len(), 1, "{pairs}");
    exchange.tick("BTC/USD", "102.00", "103.00");
    client.see("BTC_USD", |quote| quote["customer"] == json!({ "buy": "103.00", "sell": "102.00" })).await;

    write(&launch, &good);
    exchange.list("ETH/USD", "10.00", "10.10");
    reload(&ratebus, "taken_over").await;
    assert_eq!(ratebus.metric("ratebus_config_reload_failed").await, 0);
    client.see("ETH_USD", |_| true).await;
}

#[tokio::test]
async fn who_reads_a_config_that_never_ends_can_still_be_stopped() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url());
    write(&launch, &config(&[PAIRS]));
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let file = launch.folder().join("plugins.toml");
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    ratebus.signal("HUP");
    // There is a writer only once there is a reader, who waits for as long as nothing is written.
    let _writer = eventually("a reader", || async { pipe::OpenOptions::new().open_sender(&file).ok() }).await;
    ratebus.stop().await;
}

#[tokio::test]
async fn what_is_only_silent_stays_known_and_what_no_source_serves_any_more_is_forgotten() {
    let exchange = started().await;
    exchange.list("BTC/USD", "100.00", "101.00");
    exchange.list("ETH/USD", "10.00", "10.10");
    let launch = Launch::new().exchange(&exchange.url());
    let short = "stale_after = \"1s\"\nstall_after = \"1s\"\ndead_after = \"2s\"";
    let [both, one] = [r#""BTC_USD", "ETH_USD""#, r#""BTC_USD""#].map(|pairs| format!("pairs = [{pairs}]\n{short}"));
    write(&launch, &config(&[(PAIRS.0, &both)]));
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let listed = async |listener: &str, path: &str, pair: &str| {
        let url = format!("{}/v1/{path}", ratebus.url(listener));
        let answer = reqwest::get(url).await.unwrap().text().await.unwrap();
        answer.contains(pair)
    };
    let all = [("user-api", "rates"), ("user-api", "pairs"), ("exchange-rate", "rates"), ("exchange-rate", "pairs")];
    let forgotten = async |pair: &str| {
        for (listener, path) in all {
            let is_gone = || async { (!listed(listener, path, pair).await).then_some(()) };
            eventually(&format!("{pair} to go from {path} of {listener}"), is_gone).await;
        }
        let one = reqwest::get(format!("{}/v1/rates/{pair}", ratebus.url("user-api"))).await.unwrap();
        assert_eq!(one.status(), 404);
    };

    // A source that is only silent keeps its pairs, dead as they are.
    exchange.hang();
    exchange.refuse_handshakes(Some((503, None)));
    let dead = || async {
        let quote = reqwest::get(format!("{}/v1/rates/ETH_USD", ratebus.url("user-api"))).await.unwrap();
        (quote.status() == 503).then_some(())
    };
    eventually("a dead price", dead).await;
    for (listener, path) in all {
        assert!(listed(listener, path, "ETH_USD").await, "{path} of {listener}");
    }
    exchange.refuse_handshakes(None);

    write(&launch, &config(&[(PAIRS.0, &one)]));
    reload(&ratebus, "taken_over").await;
    forgotten("ETH_USD").await;
    assert!(listed("user-api", "pairs", "BTC_USD").await);

    let without = (
        r#"plugins = ["kraken", "rates-http", "spread", "api", "broadcast"]"#,
        r#"plugins = ["rates-http", "spread", "api", "broadcast"]"#,
    );
    write(&launch, &config(&[(PAIRS.0, &one), without]));
    reload(&ratebus, "taken_over").await;
    forgotten("BTC_USD").await;
}
