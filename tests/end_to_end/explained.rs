//! How a price came about, asked of a process that does not make it.

use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use serde_json::{Value, json};

use crate::harness::{Launch, eventually, started};

over_each_broker!(whoever_makes_the_prices_explains_them);

const NOBODY: &str = "nothing that makes prices runs here";

async fn whoever_makes_the_prices_explains_them(kind: BrokerKind) {
    let exchange = started().await;
    let broker = Broker::start(kind, BrokerOptions::default());
    let backend = if kind == BrokerKind::Redis { "redis" } else { "nats" };
    let launch = Launch::new()
        .exchange(&exchange.url())
        .set(&format!("bus.backend={backend}"))
        .variable("RATEBUS_BUS__URL", &broker.url_of_user())
        .set(r#"role.exchange-rate.plugins=["kraken","rates-http","spread"]"#)
        .set(r#"role.user-api.plugins=["api","broadcast"]"#)
        .set("plugin.spread.config.stored=false");
    let prices = launch.clone().arg("--role").arg("exchange-rate").start().await;
    let web = launch.arg("--role").arg("user-api").start().await;
    let url = web.url("user-api");
    let explained = eventually("an explanation", || async {
        let (status, explained) = explain(&url).await;
        (status == 200).then_some(explained)
    })
    .await;
    assert_eq!(
        (&explained["sources"][0]["source"], &explained["sources"][0]["verdict"], &explained["customer"]),
        (&json!("kraken"), &json!("used"), &json!({ "buy": "20249.00000", "sell": "20248.10000" })),
        "{explained}"
    );
    prices.stop().await;
    eventually("a word that nobody can be asked", || async {
        let (status, problem) = explain(&url).await;
        (status == 503 && problem["detail"].as_str()?.contains(NOBODY)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_is_alone_says_that_nothing_makes_its_prices() {
    let exchange = started().await;
    let launch =
        Launch::new().exchange(&exchange.url()).set(r#"role.all.plugins=["kraken","rates-http","api","broadcast"]"#);
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let (status, problem) = explain(&ratebus.url("user-api")).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(NOBODY), "{problem}");
}

async fn explain(url: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("{url}/v1/rates/BTC_USD?explain=true")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
