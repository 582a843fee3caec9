//! Prices: which, of what, how exact and how old.

use std::{fs, path::Path, time::Duration};

use ratebus_model::{RateKind, Status};
use ratebus_test_exchange::{HttpExchange, Reply};
use serde_json::{Value, json};

use crate::{KEY, answer, api, both, coin, ids, plan, start};

#[tokio::test]
async fn a_price_is_a_reference_and_the_key_is_seen_in_its_header_alone() {
    let exchange = HttpExchange::start(api(|_| both())).await;
    let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
    let rate = source.until_bid("BTC_USD", "21871.88352846").await;
    assert_eq!((rate.value.kind(), rate.value.ask()), (RateKind::Reference, rate.value.bid()));
    assert_eq!(rate.event_time.map(|time| time.to_string()).as_deref(), Some("2022-06-16T06:59:00.000000Z"));
    source.until_bid("ETH_USD", "1200.00").await;
    source.until_ready().await;
    let asked = exchange.asked();
    assert_eq!(asked[0].target, "/v1/key/info");
    let quotes = "/v3/cryptocurrency/quotes/latest?id=1,1027&convert=USD&aux=is_active&skip_invalid=true";
    assert_eq!(asked[1].target, quotes);
    for asked in asked {
        assert_eq!(asked.headers["x-cmc_pro_api_key"], KEY);
        assert!(!asked.target.contains(KEY));
    }
    for (name, period, value) in
        [("left", "day", 93), ("left", "month", 9000), ("used", "day", 7), ("used", "month", 8)]
    {
        let sample = format!("ratebus_coinmarketcap_credits_{name}{{");
        source.until_counted(&[&sample, &format!("period=\"{period}\"")], value).await;
    }
    source.stop().await;
}

#[tokio::test]
async fn prices_are_rounded_to_the_decimals_of_the_config() {
    let exchange = HttpExchange::start(api(|_| both())).await;
    let mut protocol = ids();
    protocol["decimals"] = json!(0);
    protocol["pair_decimals"] = json!({"BTC_USD": 2});
    let source = start(&exchange, &["BTC_USD", "ETH_USD"], &protocol);
    source.until_bid("BTC_USD", "21871.88").await;
    source.until_bid("ETH_USD", "1200").await;
    source.stop().await;
}

/// The text of the price in USD of the coin whose record begins with this id, by nothing but its place.
fn price_text(body: &str, id: u64) -> &str {
    let coin = body.split_once(&format!("{{\"id\":{id},")).unwrap().1;
    let quote = coin.split_once("\"USD\":{\"price\":").unwrap().1;
    quote.split(',').next().unwrap()
}

#[tokio::test]
async fn every_shape_that_was_recorded_is_read_digit_for_digit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/coinmarketcap");
    let mut read = 0;
    for name in [
        "v1_quotes_latest_by_id_20190204.json",
        "v1_listings_latest_20190208.json",
        "v2_quotes_latest_by_id_20220616.json",
        "v2_quotes_latest_by_slug_20220616.json",
        "v2_quotes_latest_by_symbol_20220616.json",
    ] {
        let Ok(body) = fs::read_to_string(folder.join(name)) else {
            eprintln!("SKIPPED: the recording {name} is not here");
            continue;
        };
        let document: Value = serde_json::from_str(&body).unwrap();
        let coins: Vec<(u64, String)> = coins_of(&document["data"]);
        let pairs: Vec<String> = coins.iter().map(|(_, symbol)| format!("{symbol}_USD")).collect();
        let ids: serde_json::Map<String, Value> =
            coins.iter().map(|(id, symbol)| (symbol.clone(), json!(id))).collect();
        let served = body.clone();
        let exchange = HttpExchange::start(api(move |_| Reply::Json(served.clone()))).await;
        let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
        let source = start(&exchange, &pairs, &json!({"ids": ids, "decimals": 18}));
        for ((id, _), pair) in coins.iter().zip(&pairs) {
            source.until_bid(pair, price_text(&body, *id)).await;
            assert_eq!(source.status(pair), Status::Fresh, "{name} {pair}");
            read += 1;
        }
        source.stop().await;
    }
    eprintln!("{read} recorded prices");
}

fn coins_of(data: &Value) -> Vec<(u64, String)> {
    match data {
        Value::Array(rows) => rows.iter().flat_map(coins_of).collect(),
        Value::Object(coin) if coin.contains_key("quote") => {
            vec![(coin["id"].as_u64().unwrap(), coin["symbol"].as_str().unwrap().to_owned())]
        }
        Value::Object(rows) => rows.values().flat_map(coins_of).collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_price_is_as_old_as_the_api_s_own_clock_says_and_a_repeated_one_gets_older() {
    // Four minutes and 59 s old: stale a second later, however often it is sent, and though that clock stands still.
    let body = answer(&format!("[{}]", coin(1, "BTC", "21800", 299)));
    let exchange = HttpExchange::start(api(move |_| Reply::Json(body.clone()))).await;
    let source = start(&exchange, &["BTC_USD"], &ids());
    let first = source.until_bid("BTC_USD", "21800").await;
    source.until_status("BTC_USD", Status::Stale).await;
    let last = source.rate("BTC_USD");
    assert_eq!((first.version, first.recv_time), (last.version, last.recv_time), "it is not news");
    source.until_health("BTC_USD (no longer fresh)").await;
    // The next price is.
    exchange.script(api(|_| both()));
    source.until_bid("BTC_USD", "21871.88352846").await;
    let now = source.ctx.clock().now();
    let age = source.rate("BTC_USD").feed_age(now);
    assert!(age >= Duration::from_mins(1) && age < Duration::from_mins(4), "{age:?}");
    source.stop().await;
}

#[tokio::test]
async fn a_coin_that_is_not_what_it_should_be_costs_the_others_nothing() {
    let good = coin(1, "BTC", "5", 1);
    let inactive = coin(1027, "ETH", "5", 1).replace(r#""is_active":1"#, r#""is_active":0"#);
    let cases = [
        ("the answer leaves the coin out".replace("the answer", "CoinMarketCap's answer"), String::new()),
        ("the coin with the number 1027 is \"ETC\" and not ETH".to_owned(), coin(1027, "ETC", "5", 1)),
        ("the coin is no longer listed".to_owned(), inactive),
        ("the coin has no price in USD".to_owned(), coin(1027, "ETH", "null", 1)),
        ("the coin has no quote in USD".to_owned(), coin(1027, "ETH", "5", 1).replace("\"USD\"", "\"BTC\"")),
        ("a price without a time".to_owned(), coin(1027, "ETH", "5", 1).replace("2022-", "yesterday")),
        ("CoinMarketCap's answer leaves the coin out".to_owned(), r#"{"id":1027,"symbol":5}"#.to_owned()),
        ("no price yet".to_owned(), coin(1027, "ETH", "0", 1)),
        ("no price yet".to_owned(), coin(1027, "ETH", "-5", 1)),
    ];
    for (words, other) in cases {
        let separator = if other.is_empty() { "" } else { "," };
        let body = answer(&format!("[{good}{separator}{other}]"));
        let exchange = HttpExchange::start(api(move |_| Reply::Json(body.clone()))).await;
        let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
        source.until_bid("BTC_USD", "5").await;
        source.until_health(&words).await;
        assert!(source.host.rates().iter().all(|rate| rate.pair.to_string() == "BTC_USD"), "{words}");
        source.stop().await;
    }
}

#[tokio::test]
async fn the_numbers_of_coins_are_looked_up_where_the_config_does_not_give_them() {
    let exchange = HttpExchange::start(|asked| match asked.target.as_str() {
        "/v1/key/info" => plan(93, 9000),
        "/v1/cryptocurrency/map?symbol=ETH" => Reply::Json(answer(
            r#"[{"id":9,"name":"Another","symbol":"ETH","rank":4000},{"id":1027,"name":"Ethereum","symbol":"ETH","rank":2},
                {"id":8,"name":"No rank","symbol":"ETH"},{"id":7,"name":"Not it","symbol":"ETHX","rank":1}]"#,
        )),
        "/v1/cryptocurrency/map?symbol=ETH,NOPE" | "/v1/cryptocurrency/map?symbol=NOPE" => {
            Reply::status(400, crate::refusal(400, "Invalid value for \"symbol\": \"NOPE\""))
        }
        other => {
            assert!(other.starts_with("/v3/cryptocurrency/quotes/latest?id=1,1027&"), "{other}");
            both()
        }
    })
    .await;
    let source = start(&exchange, &["BTC_USD", "ETH_USD", "NOPE_USD"], &json!({"ids": {"BTC": 1}}));
    source.until_bid("ETH_USD", "1200.00").await;
    source.until_health("NOPE_USD (CoinMarketCap says 400").await;
    exchange.wait_more("/v3/", 2).await;
    assert_eq!(exchange.count("/v1/cryptocurrency/map"), 3, "and not again at once");
    source.stop().await;
}

#[tokio::test]
async fn each_currency_is_a_request_of_its_own() {
    let exchange = HttpExchange::start(api(|_| both())).await;
    let source = start(&exchange, &["BTC_USD", "ETH_EUR"], &ids());
    source.until_bid("BTC_USD", "21871.88352846").await;
    source.until_bid("ETH_EUR", "9").await;
    let targets: Vec<String> = exchange.asked().into_iter().map(|asked| asked.target).collect();
    assert!(targets.iter().any(|target| target.contains("?id=1027&convert=EUR&")), "{targets:?}");
    assert!(targets.iter().any(|target| target.contains("?id=1&convert=USD&")), "{targets:?}");
    source.stop().await;
}
