//! A role on CoinMarketCap's prices, as the guide to the exchanges has it.

use ratebus_test_exchange::{Asked, HttpExchange, Reply};
use serde_json::{Value, json};

use crate::harness::{Launch, Ratebus, eventually};

const KEY: &str = "b54bcf4d-1bca-4e8e-9a24-22ff2c3d462c";

/// Answers as CoinMarketCap does; bitcoins cost `price`.
fn says(price: &'static str) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    move |asked| {
        assert_eq!(asked.headers["x-cmc_pro_api_key"], KEY);
        let data = match asked.target.split('?').next().unwrap() {
            "/v1/key/info" => r#"{"usage":{"current_month":{"credits_used":1,"credits_left":9999}}}"#.to_owned(),
            "/v3/cryptocurrency/quotes/latest" => {
                let quote = format!(r#"{{"symbol":"USD","price":{price},"last_updated":"2026-09-19T18:56:00Z"}}"#);
                format!(r#"[{{"id":1,"symbol":"BTC","is_active":1,"quote":[{quote}]}}]"#)
            }
            other => panic!("{other}"),
        };
        let status = r#"{"timestamp":"2026-09-19T18:57:00Z","error_code":0}"#;
        Reply::Json(format!(r#"{{"status":{status},"data":{data}}}"#))
    }
}

#[tokio::test]
async fn a_role_may_run_on_reference_prices() {
    let exchange = HttpExchange::start(says("20249.123456789012")).await;
    let protocol = "{ids={BTC=1},pair_decimals={BTC_USD=2}}";
    let config = format!(r#"{{endpoint="{}",pairs=["BTC_USD"],interval="3s",protocol={protocol}}}"#, exchange.url());
    let launch = Launch::new()
        .set(&format!(r#"plugin.coinmarketcap={{use="source/coinmarketcap",config={config}}}"#))
        .variable("RATEBUS_PLUGIN__COINMARKETCAP__CONFIG__PROTOCOL__API_KEY", KEY)
        .set(r#"plugin.spread.config.default={buy="450",sell="433"}"#)
        .set("plugin.spread.config.stored=false")
        .set(r#"role.all.plugins=["coinmarketcap","rates-http","spread","api","broadcast"]"#)
        .set("log.filter=trace");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let quote = quote(&ratebus, "20249.12").await;
    assert_eq!(
        (&quote["kind"], &quote["source"], &quote["status"]),
        (&json!("reference"), &json!("coinmarketcap"), &json!("fresh"))
    );
    assert_eq!(quote["original"], json!({"buy": "20249.12", "sell": "20249.12"}));
    assert!(quote["feedAgeMs"].as_u64().unwrap() >= 60_000, "a minute old by its own time: {quote}");
    assert_eq!(ratebus.metric_of("ratebus_coinmarketcap_credits_left", "month").await, 9999);

    // The key is revoked: the source ends and says so, the rest goes on.
    let refusal = json!({"status": {"error_code": 1007, "error_message": format!("{KEY} has been disabled")}});
    exchange.script(move |_| Reply::status(403, refusal.to_string()));
    let health = eventually("the end of the source", async || {
        let health = reqwest::get(format!("{}/health", ratebus.url("metrics"))).await.unwrap().text().await.unwrap();
        health.contains("CoinMarketCap says 1007").then_some(health)
    })
    .await;
    assert!(!health.contains(KEY), "{health}");
    let quote = self::quote(&ratebus, "20249.12").await;
    assert_eq!(quote["status"], "fresh");
    assert_eq!(ratebus.log_lines(KEY), [""; 0]);
    ratebus.stop().await;
}

/// Waits for a quote of BTC with this ask.
async fn quote(ratebus: &Ratebus, ask: &str) -> Value {
    eventually(&format!("a quote at {ask}"), async || {
        let answer = reqwest::get(format!("{}/v1/rates/BTC_USD", ratebus.url("user-api"))).await.unwrap();
        let quote: Value = answer.json().await.unwrap();
        (quote["original"]["buy"] == ask).then_some(quote)
    })
    .await
}
