//! A pair that is made from others, through the built binary: exact to the client, and no better than what it is made from.

use ratebus_test_exchange::Exchange;
use serde_json::{Value, json};

use crate::harness::{Launch, Ratebus, SocketIo, WebSocket, eventually, quote_over_http, silence};

/// `BTC_USD` from one exchange, and the median of `EUR_USD` from two others: the market's bids and asks, and the exchanges.
struct Market {
    ratebus: Ratebus,
    bitcoin: Exchange,
    euros: [Exchange; 2],
}

impl Market {
    async fn start() -> Self {
        let [bitcoin, first, second] = [Exchange::start().await, Exchange::start().await, Exchange::start().await];
        bitcoin.list("BTC/USD", "20000.10", "20000.20");
        first.list("EUR/USD", "1.08001", "1.08003");
        second.list("EUR/USD", "1.08005", "1.08008");
        let mut launch = Launch::new().exchange(&bitcoin.url()).set(r#"plugin.kraken.config.pairs=["BTC_USD"]"#);
        for (name, exchange) in [("first", &first), ("second", &second)] {
            let config = format!(r#"{{endpoint="{}",pairs=["EUR_USD"]}}"#, exchange.url());
            launch = launch.set(&format!(r#"plugin.{name}={{use="source/kraken",config={config}}}"#));
        }
        for source in ["kraken", "first", "second"] {
            for limit in ["stall_after=2s", "stale_after=4s", "dead_after=1m"] {
                launch = launch.set(&format!("plugin.{source}.config.{limit}"));
            }
        }
        let launch = launch
            .set(r#"role.all.plugins=["kraken","first","second","rates-http","spread","api","broadcast"]"#)
            .set("pairs.BTC_USD={}")
            .set(r#"pairs.EUR_USD={price="median"}"#)
            .set(r#"pairs.BTC_EUR.cross=["BTC_USD","EUR_USD"]"#)
            .set(r#"plugin.spread.config.default={buy="1.25",sell="0.75"}"#);
        Self { ratebus: launch.start().await, bitcoin, euros: [first, second] }
    }

    fn url(&self) -> String {
        self.ratebus.url("user-api")
    }

    /// Waits for a quote of the cross.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let url = format!("{}/v1/rates/BTC_EUR", self.url());
        eventually(what, || async {
            let quote: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            wanted(&quote).then_some(quote)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cross_is_exact_and_as_good_as_its_worst_leg() {
    let market = Market::start().await;
    let url = market.url();
    // The median of the euro is 1.08003 / 1.080055. Bought at 20000.20 / 1.08003 and sold at 20000.10 / 1.080055, in whole
    // cents against the customer: 18518.1892… is asked at 18518.19, and 18517.6680… bid at 18517.66.
    let (ask, bid) = ("18518.19", "18517.66");
    let is_whole = |quote: &Value| quote["withheld"].is_null() && quote["original"] == json!({"buy": ask, "sell": bid});
    let quote = market.until("the cross", |quote| is_whole(quote) && quote["status"] == "fresh").await;
    let customer = json!({"buy": "18519.44", "sell": "18516.91"});
    assert_eq!((&quote["customer"], &quote["source"]), (&customer, &json!("cross")), "{quote}");
    assert_eq!(quote["sources"], json!(["kraken", "first", "second"]));
    let mut socket = WebSocket::connect(&url, "?pairs=BTC_EUR").await;
    socket.see("BTC_EUR", |quote| quote["customer"] == customer).await;
    let mut live = SocketIo::connect(&url, "4", "websocket");
    live.see(r#""BTC_EUR":{"original":{"buy":18518.19,"sell":18517.66},"withSpread":{"buy":18519.44,"sell":18516.91}"#)
        .await;

    // It is as old as the oldest that it is made from.
    let ticked = "20000.40";
    market.bitcoin.tick("BTC/USD", "20000.30", ticked);
    let leg = eventually("the newer leg", || async {
        let leg = quote_over_http(&url, "BTC_USD").await;
        (leg["original"]["buy"] == ticked).then_some(leg)
    })
    .await;
    // 20000.40 / 1.08003 = 18518.3744…
    let quote = market.until("the cross of it", |quote| quote["original"]["buy"] == "18518.38").await;
    let older = quote_over_http(&url, "EUR_USD").await;
    assert_eq!(quote["receivedTime"], older["receivedTime"], "{quote}");
    assert_ne!(quote["receivedTime"], leg["receivedTime"]);

    let explained = quote_over_http(&url, "BTC_EUR?explain=true").await;
    let legs: Vec<_> =
        explained["legs"].as_array().unwrap().iter().map(|leg| (&leg["pair"], &leg["divides"])).collect();
    assert_eq!(legs, [(&json!("BTC_USD"), &json!(false)), (&json!("EUR_USD"), &json!(true))], "{explained}");
    let step = &explained["steps"][0];
    assert_eq!((&explained["method"], &step["operation"]), (&json!("cross"), &json!("cross")));
    assert_eq!(step["buy"], json!({"inputs": [ticked, "1.08003"], "result": "18518.38"}), "{explained}");
    assert_eq!(explained["customer"], quote["customer"]);

    // A leg that its sources do not vouch for takes the cross with it.
    silence(&market.euros[1]);
    let quote = market.until("no price", |quote| quote["withheld"] == "no_quorum").await;
    assert_eq!((&quote["customer"], &quote["status"]), (&json!(null), &json!("stale")), "{quote}");
    socket.see("BTC_EUR", |quote| quote["withheld"] == "no_quorum").await;
    live.until(|map| map["BTC_EUR"].is_null()).await;
    let explained = quote_over_http(&url, "BTC_EUR?explain=true").await;
    assert_eq!(explained["legs"][1]["withheld"], "no_quorum", "{explained}");
    market.euros[1].refuse_handshakes(None);
    market.until("the cross again", |quote| quote["withheld"].is_null() && quote["status"] == "fresh").await;

    // One whose feed is silent makes the cross stale.
    silence(&market.bitcoin);
    let quote = market.until("a stale cross", |quote| quote["status"] == "stale").await;
    assert!(quote["withheld"].is_null() && quote["customer"].is_object(), "{quote}");
    assert_eq!(quote_over_http(&url, "EUR_USD").await["status"], "fresh");
}
