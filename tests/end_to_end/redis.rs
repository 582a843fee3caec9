//! Two installations that share a channel of Redis and nothing else.

use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use serde_json::{Value, json};

use crate::harness::{Launch, Ratebus, eventually, started};

const PASSWORD: &str = "a-secret-word";

#[tokio::test]
async fn what_one_publishes_another_serves() {
    let broker = Broker::start(BrokerKind::Redis, BrokerOptions { password: Some(PASSWORD), tls: false });
    let exchange = started().await;
    let url = broker.url();
    let publisher = Launch::new()
        .exchange(&exchange.url())
        .set(&format!(r#"plugin.redis-publisher={{use="sink/redis",config={{url="{url}"}}}}"#))
        .set(r#"role.all.plugins=["kraken","rates-http","redis-publisher"]"#);
    let config = format!(r#"{{url="{url}",channel="rates:*",pairs=["BTC_USD"],stale_after="3s"}}"#);
    let taker = Launch::new()
        .set(&format!(r#"plugin.redis-feed={{use="source/redis",config={config}}}"#))
        .set(r#"role.all.plugins=["redis-feed","spread","api","broadcast"]"#);
    let trace = "log.filter=trace";
    let (publisher, taker) = (publisher.set(trace).start().await, taker.set(trace).start().await);
    let quote = until(&taker, "fresh", "20249.00000").await;
    assert_eq!(quote["source"], "redis-feed");
    assert_eq!(quote["original"], json!({"buy": "20249.00000", "sell": "20248.10000"}));
    exchange.tick("BTC/USD", "20250.1", "20250.20");
    until(&taker, "fresh", "20250.20").await;

    broker.kill();
    until(&taker, "stale", "20250.20").await;
    publisher.ready("exchange-rate").await;
    exchange.tick("BTC/USD", "20251.1", "20251.30");
    broker.restart();
    until(&taker, "fresh", "20251.30").await;
    for ratebus in [publisher, taker] {
        assert_eq!(ratebus.log_lines(PASSWORD), [""; 0]);
    }
}

#[tokio::test]
async fn a_server_elsewhere_without_tls_is_warned_of_and_its_absence_stops_nobody() {
    for (scheme, warned) in [("redis", 1), ("rediss", 0)] {
        let config = format!(r#"{{url="{scheme}://:{PASSWORD}@redis.invalid"}}"#);
        let launch = Launch::new()
            .set("runtime.role=demo")
            .set(&format!(r#"plugin.redis-publisher={{use="sink/redis",config={config}}}"#))
            .set(r#"role.demo.plugins=["replay","rates-http","spread","api","broadcast","redis-publisher"]"#);
        let ratebus = launch.start().await;
        ratebus.ready("user-api").await;
        ratebus.logged("nothing is published: ").await;
        assert_eq!(ratebus.log_lines("the way to Redis is not encrypted").len(), warned, "{scheme}");
        assert_eq!(ratebus.log_lines(PASSWORD), [""; 0]);
    }
}

/// Waits for a quote of BTC with this status and this ask.
async fn until(ratebus: &Ratebus, status: &str, ask: &str) -> Value {
    eventually(&format!("{status} at {ask}"), async || {
        let answer = reqwest::get(format!("{}/v1/rates/BTC_USD", ratebus.url("user-api"))).await.unwrap();
        let quote: Value = answer.json().await.unwrap();
        (quote["status"] == status && quote["original"]["buy"] == ask).then_some(quote)
    })
    .await
}
