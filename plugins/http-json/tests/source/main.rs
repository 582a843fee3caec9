//! Exchanges that are described by config alone, over real sockets.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use std::{fs, mem, path::Path};

use futures_util::future::join_all;
use ratebus_conformance::Running;
use ratebus_http_json::HttpJson;
use ratebus_model::{RateKind, Status};
use ratebus_sdk::{HealthState, poll::Poll};
use ratebus_test_exchange::{Asked, HttpExchange, Reply};
use serde_json::{Value, json};

fn start(exchange: &HttpExchange, pairs: &[&str], more: &Value, protocol: &Value) -> Running {
    let mut config = json!({"endpoint": exchange.url(), "pairs": pairs, "interval": "50ms", "protocol": protocol});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Running::with::<Poll<HttpJson>>(config)
}

/// Bitstamp's ticker: one pair a request, strings, the time in seconds.
fn bitstamp() -> Value {
    json!({"path": "/api/v2/ticker/{symbol}/", "symbol": "{base}{quote}", "bid": "/bid", "ask": "/ask",
        "time": "/timestamp", "time_format": "s", "requests_per_second": 100})
}

fn bitstamp_says(bid: &str, ask: &str) -> Reply {
    let body = r#"{"timestamp":"1643640186","open":"2211.00","high":"2811.00","low":"2188.97","last":"2211.00",
        "volume":"213.26801100","vwap":"2189.80","bid":"BID","ask":"ASK","side":"0","open_24":"1","percent_change_24":"13.57"}"#;
    Reply::Json(body.replace("BID", bid).replace("ASK", ask))
}

#[tokio::test]
async fn bitstamp_is_described_by_config_alone() {
    let exchange = HttpExchange::start(|asked| match asked.target.as_str() {
        "/api/v2/ticker/btcusd/" => bitstamp_says("2188.970", "2211.00"),
        "/api/v2/ticker/ethusd/" => bitstamp_says("81.0000", "81.0001"),
        "/api/v2/ticker/dogeusd/" => Reply::status(404, "<html>not found</html>"),
        other => panic!("{other}"),
    })
    .await;
    let source = start(&exchange, &["BTC_USD", "ETH_USD", "DOGE_USD"], &json!({}), &bitstamp());
    let rate = source.until_bid("BTC_USD", "2188.970").await;
    assert_eq!((rate.value.ask().to_string().as_str(), rate.value.kind()), ("2211.00", RateKind::TwoSided));
    assert_eq!(rate.event_time.map(|time| time.to_string()).as_deref(), Some("2022-01-31T14:43:06.000000Z"));
    assert_eq!(source.status("BTC_USD"), Status::Fresh, "its time is that of a trade");
    source.until_bid("ETH_USD", "81.0000").await;
    source.until_health("DOGE_USD (the exchange answers with HTTP 404 Not Found)").await;
    source.stop().await;
}

/// Kraken's ticker: all pairs in one request, an object by names of its own, errors with HTTP 200.
fn kraken() -> Value {
    json!({"path": "/0/public/Ticker?pair={symbols}", "list": "/result", "bid": "/b/0", "ask": "/a/0", "error": "/error/0"})
}

#[tokio::test]
async fn kraken_is_described_by_config_alone() {
    let file = "../../../shared/fixtures/kraken/rest_ticker_fx_20260919.json";
    let Ok(body) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
        return eprintln!("SKIPPED: the recording is not here");
    };
    let served = body.clone();
    let exchange = HttpExchange::start(move |_| Reply::Json(served.clone())).await;
    let keys = [
        ("AUD_USD", "AUDUSD"),
        ("ETH_USD", "XETHZUSD"),
        ("EUR_USD", "ZEURZUSD"),
        ("GBP_USD", "ZGBPZUSD"),
        ("PAXG_USD", "PAXGUSD"),
        ("SOL_USD", "SOLUSD"),
        ("USD_CAD", "ZUSDZCAD"),
        ("USD_CHF", "USDCHF"),
        ("USD_JPY", "ZUSDZJPY"),
    ];
    let pairs = keys.map(|(pair, _)| pair);
    let source = start(
        &exchange,
        &pairs,
        &json!({"symbols": serde_json::Map::from_iter(keys.map(|(pair, key)| (pair.to_owned(), json!(key))))}),
        &kraken(),
    );
    for (pair, key) in keys {
        let side = |side: &str| {
            let row = body.split_once(&format!("\"{key}\":{{")).unwrap().1;
            row.split_once(&format!("\"{side}\":[\"")).unwrap().1.split('"').next().unwrap()
        };
        let rate = source.until_bid(pair, side("b")).await;
        assert_eq!(rate.value.ask().to_string(), side("a"), "{pair}");
    }
    source.until_ready().await;
    let names: Vec<&str> = keys.iter().map(|(_, key)| *key).collect();
    assert_eq!(exchange.asked()[0].target, format!("/0/public/Ticker?pair={}", names.join(",")));
    exchange.script(|_| Reply::Json(r#"{"error":["EService:Unavailable"]}"#.to_owned()));
    source.until_health("the exchange says \"EService:Unavailable\"").await;
    source.stop().await;
}

#[tokio::test]
async fn one_pair_s_useless_answer_costs_the_others_nothing() {
    let gone = [
        (Reply::Json(r#"{"error":"delisted"}"#.to_owned()), "DOGE_USD (the exchange says \"delisted\")"),
        (Reply::status(200, "<html>"), "DOGE_USD (the answer is a page"),
        (Reply::status(422, ""), "DOGE_USD (the exchange answers with HTTP 422"),
    ];
    let mut protocol = bitstamp();
    protocol["error"] = json!("/error");
    for (gone, words) in gone {
        let exchange = HttpExchange::start(move |asked| match asked.target.as_str() {
            "/api/v2/ticker/dogeusd/" => gone.clone(),
            _ => bitstamp_says("1", "2"),
        })
        .await;
        let source = start(&exchange, &["DOGE_USD", "BTC_USD"], &json!({}), &protocol);
        source.until_bid("BTC_USD", "1").await;
        source.until_health(words).await;
        assert!(source.ctx.health().state().is_ready());
        source.stop().await;
    }
}

#[tokio::test]
async fn pairs_that_never_answer_cost_the_others_nothing() {
    let failing = [
        (Reply::status(500, ""), "HTTP 500"),
        (Reply::status(403, "<html>"), "HTTP 403"),
        (Reply::BreakOff("{"), "without a fresh rate"),
        (Reply::Hang, "no complete answer within"),
    ];
    let one_fails = async |(reply, words): (Reply, &str)| {
        let answers = |reply: Reply, bid: &'static str| {
            move |asked: &Asked| match asked.target.as_str() {
                "/api/v2/ticker/btcusd/" => bitstamp_says(bid, "9"),
                _ => reply.clone(),
            }
        };
        let exchange = HttpExchange::start(answers(reply.clone(), "1")).await;
        // More of them than fit into a round, and the good one the last.
        let pairs = ["DOGE_USD", "ETH_USD", "SOL_USD", "XRP_USD", "BTC_USD"];
        let limits = json!({"timeout": "300ms", "stale_after": "1m", "dead_after": "2m", "max_jump_percent": 0});
        let source = start(&exchange, &pairs, &limits, &bitstamp());
        source.until_bid("BTC_USD", "1").await;
        exchange.script(answers(reply, "2"));
        source.until_bid("BTC_USD", "2").await;
        for pair in &pairs[..4] {
            source.until_health(&format!("{pair} (")).await;
        }
        source.until_health(words).await;
        assert!(source.ctx.health().state().is_ready());
        exchange.script(|_| bitstamp_says("3", "9"));
        source.until_ready().await;
        source.stop().await;
    };
    join_all(failing.into_iter().map(one_fails)).await;
}

#[tokio::test]
async fn a_pause_that_is_asked_for_with_one_pair_is_kept_with_that_one() {
    let exchange = HttpExchange::start(|asked| match asked.target.as_str() {
        "/api/v2/ticker/btcusd/" => bitstamp_says("1", "9"),
        _ => Reply::Raw(503, vec![("retry-after", "600".to_owned())], Vec::new()),
    })
    .await;
    let source = start(&exchange, &["DOGE_USD", "ETH_USD", "SOL_USD", "XRP_USD", "BTC_USD"], &json!({}), &bitstamp());
    source.until_bid("BTC_USD", "1").await;
    exchange.wait_more("/api/v2/ticker/btcusd/", 3).await;
    for symbol in ["dogeusd", "ethusd", "solusd", "xrpusd"] {
        assert_eq!(exchange.count(&format!("/api/v2/ticker/{symbol}/")), 1, "{symbol}");
    }
    source.until_health("XRP_USD (the server answered with HTTP 503").await;
    source.stop().await;
}

#[tokio::test]
async fn a_pause_that_is_asked_for_with_one_pair_is_not_kept_with_another_that_failed_too() {
    let mut has_failed = false;
    let exchange = HttpExchange::start(move |asked| match asked.target.as_str() {
        "/api/v2/ticker/btcusd/" if mem::replace(&mut has_failed, true) => bitstamp_says("1", "9"),
        "/api/v2/ticker/btcusd/" => Reply::status(500, ""),
        _ => Reply::Raw(503, vec![("retry-after", "600".to_owned())], Vec::new()),
    })
    .await;
    let source = start(&exchange, &["ETH_USD", "BTC_USD"], &json!({}), &bitstamp());
    source.until_bid("BTC_USD", "1").await;
    assert_eq!(exchange.count("/api/v2/ticker/ethusd/"), 1);
    source.stop().await;
}

/// A list with the names within, one price, and prices that come late.
fn listing() -> Value {
    json!({"path": "/listings?convert=USD", "symbol": "{BASE}/", "list": "/data", "name": "/symbol",
        "price": "/quote/USD/price", "time": "/quote/USD/last_updated", "aged": true, "error": "/status/error_code"})
}

#[tokio::test]
async fn a_list_of_reference_prices_is_described_by_config_alone() {
    let coin = |symbol: &str, price: &str| {
        format!(
            r#"{{"symbol":"{symbol}\/","quote":{{"USD":{{"price":{price},"last_updated":"2019-02-08T12:28:26.000Z"}}}}}}"#
        )
    };
    let (btc, eth) = (coin("BTC", "3453.70296808"), coin("ETH", "1.0e2"));
    let body = format!(r#"{{"status":{{"error_code":0}},"data":[{btc},{eth},{{"symbol":5}},7]}}"#);
    let reply = Reply::Raw(200, vec![("date", "Fri, 08 Feb 2019 12:28:56 GMT".to_owned())], body.into_bytes());
    let exchange = HttpExchange::start(move |_| reply.clone()).await;
    let limits = json!({"stale_after": "31s", "dead_after": "90s"});
    let source = start(&exchange, &["BTC_USD", "ETH_USD", "SOL_USD"], &limits, &listing());
    let rate = source.until_bid("BTC_USD", "3453.70296808").await;
    assert_eq!((rate.value.kind(), rate.value.ask()), (RateKind::Reference, rate.value.bid()));
    source.until_bid("ETH_USD", "100").await;
    source.until_health("SOL_USD (the answer leaves the pair out)").await;
    // Thirty seconds old when it came, by the server's own clock.
    source.until_status("BTC_USD", Status::Stale).await;
    source.stop().await;
}

#[tokio::test]
async fn recorded_listings_keep_their_digits() {
    let file = "../../../shared/fixtures/coinmarketcap/v1_listings_latest_20190208.json";
    let Ok(body) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
        return eprintln!("SKIPPED: the recording is not here");
    };
    let served = body.clone();
    let exchange = HttpExchange::start(move |_| Reply::Json(served.clone())).await;
    let mut protocol = listing();
    protocol["aged"] = json!(false);
    protocol["symbol"] = json!("{BASE}");
    let source = start(&exchange, &["BTC_USD", "XRP_USD", "ETH_USD"], &json!({}), &protocol);
    for pair in ["BTC_USD", "XRP_USD", "ETH_USD"] {
        let coin = body.split_once(&format!("\"symbol\":\"{}\"", &pair[..3])).unwrap().1;
        let price = coin.split_once("\"price\":").unwrap().1.split(',').next().unwrap();
        source.until_bid(pair, price).await;
    }
    source.stop().await;
}

#[tokio::test]
async fn names_are_encoded_and_headers_sent() {
    let exchange = HttpExchange::start(|_| bitstamp_says("1", "2")).await;
    let mut protocol = bitstamp();
    protocol["symbol"] = json!("{BASE}/{QUOTE}&x");
    protocol["headers"] = json!({"x-plain": "5"});
    protocol["headers_from_env"] = json!({"x-path": "PATH"});
    let source = start(&exchange, &["BTC_USD"], &json!({}), &protocol);
    source.until_ready().await;
    let asked = exchange.asked();
    assert_eq!(asked[0].target, "/api/v2/ticker/BTC%2FUSD%26x/");
    assert_eq!((&asked[0].headers["x-plain"], asked[0].headers["x-path"].is_empty()), (&"5".parse().unwrap(), false));
    source.stop().await;
}

#[tokio::test]
async fn what_is_no_ticker_is_no_price() {
    let page = "<html>502</html>";
    for (reply, words) in [
        (Reply::Json("{}".to_owned()), "BTC_USD (the ticker has no price where one should be)"),
        (Reply::Json(r#"{"bid":"1"}"#.to_owned()), "BTC_USD (the ticker has no price where one should be)"),
        (Reply::Json(r#"{"bid":null,"ask":"1"}"#.to_owned()), "BTC_USD (no price yet)"),
        (Reply::Json(r#"{"bid":"0","ask":"1"}"#.to_owned()), "BTC_USD (no price yet)"),
        (Reply::Json(r#"{"bid":"2","ask":"1"}"#.to_owned()), "BTC_USD (no price yet)"),
        (Reply::status(502, page), "HTTP 502"),
        (Reply::status(200, page), "a page and no JSON"),
        (Reply::status(429, ""), "HTTP 429"),
    ] {
        let exchange = HttpExchange::start(move |_| reply.clone()).await;
        let source = start(&exchange, &["BTC_USD"], &json!({}), &bitstamp());
        source.until_health(words).await;
        assert!(matches!(source.ctx.health().state(), HealthState::NotReady(_)));
        assert_eq!(source.host.rates().len(), 0);
        source.stop().await;
    }
    let mut named = bitstamp();
    named["name"] = json!("/pair");
    for other in [r#"{"bid":"1","ask":"2","pair":"ethusd"}"#, r#"{"bid":"1","ask":"2"}"#] {
        let exchange = HttpExchange::start(move |_| Reply::Json(other.to_owned())).await;
        let source = start(&exchange, &["BTC_USD"], &json!({}), &named);
        source.until_health("BTC_USD (the answer leaves the pair out)").await;
        source.stop().await;
    }
    let exchange = HttpExchange::start(|_| Reply::Json(r#"{"error":[]}"#.to_owned())).await;
    let source = start(&exchange, &["BTC_USD"], &json!({}), &kraken());
    source.until_health("the answer has no list at \"/result\"").await;
    source.stop().await;
}
