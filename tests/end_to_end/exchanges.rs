//! Each exchange that is followed over a WebSocket, through the built binary to a client.

use std::{fmt::Write, fs};

use ratebus_test_exchange::{Binance, Bitstamp, Coinbase, DEADLINE, Exchange, Okx, Protocol};
use serde_json::json;

use crate::harness::{Launch, WebSocket, in_project};

/// A source, how its exchange speaks, its pair, and the exchange's name of that.
type Source = (&'static str, &'static dyn Protocol, &'static str, &'static str);

const SOURCES: [Source; 5] = [
    ("binance", &Binance, "BTC_USDT", "BTCUSDT"),
    ("bitstamp", &Bitstamp, "ETH_USD", "ethusd"),
    ("coinbase", &Coinbase, "BTC_USD", "BTC-USD"),
    ("okx", &Okx, "ETH_USDT", "ETH-USDT"),
    ("ws-json", &Coinbase, "SOL_USD", "SOL-USD"),
];

/// What Coinbase's protocol is to a source that knows none.
const DESCRIBED: &str = r#"
[plugin.ws-json.config.protocol]
subscribe = '{"type":"subscribe","product_ids":{symbols},"channels":["ticker","heartbeat"]}'
price = { when = { "/type" = "ticker" }, symbol = "/product_id", bid = "/best_bid", ask = "/best_ask", time = "/time" }
heartbeat = { "/type" = "heartbeat" }
"#;

#[tokio::test]
async fn a_price_of_every_exchange_reaches_the_clients_with_all_its_digits() {
    let (mut exchanges, mut config) = (Vec::new(), fs::read_to_string(in_project("plugins.toml")).unwrap());
    for (name, protocol, pair, symbol) in SOURCES {
        let exchange = Exchange::start_as(protocol).await;
        exchange.list(symbol, "20248.10000", "20249.00000");
        let url = exchange.url();
        writeln!(config, "\n[plugin.{name}]\nuse = \"source/{name}\"\n[plugin.{name}.config]").unwrap();
        writeln!(config, "endpoint = {url:?}\npairs = [{pair:?}]").unwrap();
        exchanges.push(exchange);
    }
    let names = SOURCES.map(|(name, ..)| format!("{name:?}")).join(",");
    let launch = Launch::new()
        .arg("--config")
        .arg("exchanges.toml")
        .set(&format!(r#"role.all.plugins=[{names},"rates-http","spread","api","broadcast"]"#));
    fs::write(launch.folder().join("exchanges.toml"), config + DESCRIBED).unwrap();
    let ratebus = launch.start().await;
    let mut client = WebSocket::connect(&ratebus.url("user-api"), "").await;
    for ((name, protocol, pair, symbol), exchange) in SOURCES.iter().zip(&exchanges) {
        exchange.wait_subscribed(&[symbol], DEADLINE).await;
        if !protocol.has_snapshots() {
            exchange.tick(symbol, "20248.10000", "20249.00000");
        }
        let quote = client.until(pair, |quote| quote["status"] == "fresh").await;
        let original = json!({"buy": "20249.00000", "sell": "20248.10000"});
        assert_eq!((&quote["source"], &quote["original"]), (&json!(name), &original));
    }
}
