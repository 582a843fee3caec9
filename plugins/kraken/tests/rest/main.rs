//! The REST source against a scripted exchange over real sockets, and over recorded bodies.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod conformance;

use std::{fs, path::Path};

use futures_util::future::join_all;
use ratebus_conformance::{Running, Unpaced};
use ratebus_kraken::KrakenRest;
use ratebus_model::{Market, Message, PairState, Payload, Status};
use ratebus_sdk::{Factory, HealthState, poll::Poll, testkit::env};
use ratebus_test_exchange::{Asked, DEADLINE, HttpExchange, Reply};
use serde_json::{Value, json};

const ONLINE: &str = r#"{"error":[],"result":{"status":"online","timestamp":"2026-09-19T18:57:42Z"}}"#;
const LISTED: &str = r#"{"error":[],"result":{
    "XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT\/USD","pair_decimals":1,"status":"online"},
    "XXBTZUSD.d":{"altname":"XBTUSD.d"},
    "XDGUSD":{"altname":"XDGUSD","wsname":"XDG\/USD"},
    "SOLUSD":{"altname":"SOLUSD","wsname":"SOL\/USD","new":{}},
    "BROKEN":[1]}}"#;

fn start(exchange: &HttpExchange, pairs: &[&str]) -> Running {
    let config = json!({"endpoint": exchange.url(), "pairs": pairs, "interval": "50ms"});
    Running::with::<Poll<Unpaced<KrakenRest>>>(config)
}

/// One row of the ticker, as Kraken writes it.
fn row(key: &str, bid: &str, ask: &str) -> String {
    format!(r#""{key}":{{"a":["{ask}","1","1.000"],"b":["{bid}","2","2.000"],"c":["1","0.1"],"t":[1,2],"o":"3"}}"#)
}

fn ticker(rows: &[String]) -> String {
    format!(r#"{{"error":[],"result":{{{}}}}}"#, rows.join(","))
}

fn all() -> String {
    ticker(&[
        row("XXBTZUSD", "81413.20000", "81413.30000"),
        row("XDGUSD", "0.0700000", "0.0700001"),
        row("SOLUSD", "111.09000", "111.10000"),
    ])
}

/// Answers as Kraken does, and the ticker as `ticker` says.
fn kraken(mut ticker: impl FnMut(&Asked) -> Reply + Send + 'static) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    move |asked| match asked.target.split('?').next().unwrap() {
        "/0/public/AssetPairs" => Reply::Json(LISTED.to_owned()),
        "/0/public/SystemStatus" => Reply::Json(ONLINE.to_owned()),
        "/0/public/Ticker" => ticker(asked),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn prices_come_digit_for_digit_by_kraken_s_own_names() {
    let exchange = HttpExchange::start(kraken(|_| Reply::Json(all()))).await;
    let source = start(&exchange, &["BTC_USD", "DOGE_USD"]);
    let rate = source.until_bid("BTC_USD", "81413.20000").await;
    assert_eq!(rate.value.ask().to_string(), "81413.30000");
    source.until_bid("DOGE_USD", "0.0700000").await;
    source.until_ready().await;
    let asked = exchange.asked();
    assert_eq!(asked.iter().filter(|asked| asked.target.contains("AssetPairs")).count(), 1);
    assert_eq!(asked[2].target, "/0/public/Ticker?pair=XDGUSD,XXBTZUSD");
    source.stop().await;
}

#[tokio::test]
async fn a_pair_of_another_name_has_no_price_of_its_namesake() {
    let exchange = HttpExchange::start(kraken(|_| Reply::Json(all()))).await;
    let config = json!({"endpoint": exchange.url(), "pairs": ["BTC_USD", "SOL_USD"], "interval": "50ms",
        "symbols": {"BTC_USD": "XBT/USDC"}});
    let source = Running::with::<Poll<Unpaced<KrakenRest>>>(config);
    source.until_bid("SOL_USD", "111.09000").await;
    source.until_health("BTC_USD (Kraken does not list the pair)").await;
    assert!(source.host.rates().iter().all(|rate| rate.pair.to_string() == "SOL_USD"));
    assert_eq!(exchange.asked()[2].target, "/0/public/Ticker?pair=SOLUSD");
    source.stop().await;
}

#[tokio::test]
async fn recorded_bodies_keep_their_digits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/kraken");
    let body = fs::read_to_string(folder.join("rest_ticker_fx_20260919.json"));
    let listed = fs::read(folder.join("rest_assetpairs_20210417.json.gz"));
    let (Ok(body), Ok(listed)) = (body, listed) else { return eprintln!("SKIPPED: the recordings are not here") };
    let served = body.clone();
    let exchange = HttpExchange::start(move |asked| match &asked.target {
        pairs if pairs.ends_with("AssetPairs") => {
            Reply::Raw(200, vec![("content-encoding", "gzip".to_owned())], listed.clone())
        }
        status if status.ends_with("SystemStatus") => Reply::Json(ONLINE.to_owned()),
        _ => Reply::Json(served.clone()),
    })
    .await;
    let keys = [
        ("AUD_USD", "AUDUSD"),
        ("ETH_USD", "XETHZUSD"),
        ("EUR_USD", "ZEURZUSD"),
        ("GBP_USD", "ZGBPZUSD"),
        ("PAXG_USD", "PAXGUSD"),
        ("USD_CAD", "ZUSDZCAD"),
        ("USD_CHF", "USDCHF"),
        ("USD_JPY", "ZUSDZJPY"),
    ];
    // SOL was not listed yet in 2021.
    let pairs: Vec<&str> = keys.iter().map(|(pair, _)| *pair).chain(["SOL_USD"]).collect();
    let source = start(&exchange, &pairs);
    for (pair, key) in keys {
        // The first text after `"a":[` of the row, by nothing but its place.
        let side = |side: &str| {
            let row = body.split_once(&format!("\"{key}\":{{")).unwrap().1;
            row.split_once(&format!("\"{side}\":[\"")).unwrap().1.split('"').next().unwrap()
        };
        let rate = source.until_bid(pair, side("b")).await;
        assert_eq!(rate.value.ask().to_string(), side("a"), "{pair}");
    }
    source.until_health("SOL_USD (Kraken does not list the pair)").await;
    source.stop().await;
}

#[tokio::test]
async fn a_pair_that_kraken_does_not_know_any_more_costs_the_others_nothing() {
    let exchange = HttpExchange::start(kraken(|asked| {
        let unknown = r#"{"error":["EQuery:Unknown asset pair"]}"#;
        Reply::Json(if asked.target.contains("XDGUSD") { unknown.to_owned() } else { all() })
    }))
    .await;
    let source = start(&exchange, &["BTC_USD", "DOGE_USD", "SOL_USD"]);
    source.until_bid("BTC_USD", "81413.20000").await;
    source.until_bid("SOL_USD", "111.09000").await;
    source.until_health("DOGE_USD (Kraken does not know the pair)").await;
    let before = exchange.asked().len();
    exchange.wait_more("/0/public/Ticker", 1).await;
    assert_eq!(exchange.asked()[before..].iter().filter(|asked| asked.target.contains("XDGUSD")).count(), 0);
    source.stop().await;
}

/// That a pair is not known is said of it alone and again, before it is believed.
#[tokio::test]
async fn a_pair_that_is_unknown_once_is_asked_for_again_at_once() {
    let unknown = r#"{"error":["EQuery:Unknown asset pair"]}"#;
    let mut unknowns = 0;
    let exchange = HttpExchange::start(kraken(move |asked| {
        let first = asked.target.ends_with("XDGUSD") && unknowns < 1;
        unknowns += u32::from(first);
        let together = asked.target.contains(',') && unknowns < 1;
        Reply::Json(if first || together { unknown.to_owned() } else { all() })
    }))
    .await;
    let source = start(&exchange, &["BTC_USD", "DOGE_USD"]);
    source.until_bid("DOGE_USD", "0.0700000").await;
    source.until_ready().await;
    exchange.wait_more("/0/public/Ticker?pair=XDGUSD,XXBTZUSD", 1).await;
    let refused = |message: &Message| match &message.payload {
        Payload::Pairs(list) => list.pairs.iter().any(|(_, state)| matches!(state, PairState::Refused(_))),
        _ => false,
    };
    assert!(!source.host.messages().iter().any(|message| refused(message)));
    source.stop().await;
}

#[tokio::test]
async fn a_moment_in_which_nothing_is_known_costs_few_requests_and_no_pair() {
    let pairs: Vec<String> = (0..64).map(|number| format!("C{number}_USD")).collect();
    let keys = pairs.iter().map(|pair| pair.replace('_', ""));
    let name = |key: String| format!(r#""{key}":{{"wsname":"{}/USD"}}"#, key.trim_end_matches("USD"));
    let listed = format!(r#"{{"error":[],"result":{{{}}}}}"#, keys.clone().map(name).collect::<Vec<_>>().join(","));
    let all = ticker(&keys.map(|key| row(&key, "1", "2")).collect::<Vec<_>>());
    let mut rounds = 0;
    let exchange = HttpExchange::start(move |asked| {
        Reply::Json(match asked.target.split('?').next().unwrap() {
            "/0/public/AssetPairs" => listed.clone(),
            "/0/public/SystemStatus" => {
                rounds += 1;
                ONLINE.to_owned()
            }
            _ if rounds == 1 => r#"{"error":["EQuery:Unknown asset pair"]}"#.to_owned(),
            _ => all.clone(),
        })
    })
    .await;
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let source = start(&exchange, &pairs);
    source.until_ready().await;
    let asked = exchange.asked();
    let status = |asked: &&Asked| asked.target.ends_with("SystemStatus");
    let first_round =
        asked.iter().skip_while(|asked| !status(asked)).skip(1).take_while(|asked| !status(asked)).count();
    assert!((7..=20).contains(&first_round), "{first_round}");
    source.stop().await;
}

/// Answers as Kraken does, but for its status.
fn kraken_without_status(ticker: String) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    let mut kraken = kraken(move |_| Reply::Json(ticker.clone()));
    move |asked| {
        if asked.target.ends_with("SystemStatus") { Reply::status(503, "") } else { kraken(asked) }
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_had_costs_nobody_a_price() {
    let exchange = HttpExchange::start(kraken(|_| Reply::Json(all()))).await;
    let source = start(&exchange, &["BTC_USD"]);
    source.until_ready().await;
    exchange.script(kraken_without_status(ticker(&[row("XXBTZUSD", "81414.20000", "81414.30000")])));
    source.until_bid("BTC_USD", "81414.20000").await;
    // Its word of a moment ago holds.
    assert_eq!((source.rate("BTC_USD").market, source.status("BTC_USD")), (Market::Online, Status::Fresh));
    source.until_counted(&["ratebus_feed_polls_total", "unusable"], 1).await;
    source.stop().await;
}

#[tokio::test]
async fn without_any_word_of_the_market_prices_are_marked() {
    let exchange = HttpExchange::start(kraken_without_status(all())).await;
    let source = start(&exchange, &["BTC_USD"]);
    let rate = source.until_bid("BTC_USD", "81413.20000").await;
    assert_eq!(rate.market, Market::Unknown);
    source.until_health("BTC_USD (its market is in an unknown state)").await;
    exchange.script(kraken(|_| Reply::Json(all())));
    source.until_status("BTC_USD", Status::Fresh).await;
    source.until_ready().await;
    source.stop().await;
}

#[tokio::test]
async fn empty_sides_and_rows_that_cannot_be_read_are_no_prices() {
    let body =
        ticker(&[row("XXBTZUSD", "81413.2", "0.00"), r#""XDGUSD":{"a":[],"b":5}"#.to_owned(), row("SOLUSD", "1", "2")]);
    let exchange = HttpExchange::start(kraken(move |_| Reply::Json(body.clone()))).await;
    let source = start(&exchange, &["BTC_USD", "DOGE_USD", "SOL_USD"]);
    source.until_bid("SOL_USD", "1").await;
    source.until_health("BTC_USD (no price yet)").await;
    source.until_health("DOGE_USD (no price yet)").await;
    assert!(source.host.rates().iter().all(|rate| rate.value.bid().to_string() == "1"));
    source.stop().await;
}

#[tokio::test]
async fn a_market_that_does_not_match_is_never_fresh() {
    let exchange = HttpExchange::start(kraken(|_| Reply::Json(all()))).await;
    let source = start(&exchange, &["BTC_USD"]);
    source.until_ready().await;
    for (word, market, said) in [
        ("maintenance", Market::Maintenance, "in maintenance"),
        ("cancel_only", Market::NotMatching, "not matching"),
        ("limit_only", Market::Unknown, "in an unknown state"),
    ] {
        let status = ONLINE.replace("online", word);
        let mut kraken = kraken(|_| Reply::Json(all()));
        exchange.script(move |asked| {
            if asked.target.ends_with("SystemStatus") { Reply::Json(status.clone()) } else { kraken(asked) }
        });
        source.until_health(&format!("BTC_USD (its market is {said})")).await;
        let published = |message: &Message| matches!(&message.payload, Payload::Rate(rate) if rate.market == market);
        source.host.wait_for(published, DEADLINE).await;
        assert_ne!(source.status("BTC_USD"), Status::Fresh);
    }
    source.stop().await;
}

#[tokio::test]
async fn every_error_is_waited_out_and_said() {
    let page = "<html><title>502 Bad Gateway</title></html>";
    let said = |text: &str| Reply::Json(json!({"error": [text]}).to_string());
    let cases = [
        (said("EService:Unavailable"), "Kraken says \"EService:Unavailable\""),
        (said("EService:Busy"), "EService:Busy"),
        (said("EGeneral:Internal error"), "EGeneral:Internal error"),
        (said("EGeneral:Invalid arguments"), "EGeneral:Invalid arguments"),
        (Reply::status(502, page), "HTTP 502"),
        (Reply::status(520, page), "HTTP 520"),
        (Reply::status(200, page), "a page and no JSON"),
        (Reply::status(200, ""), "is empty"),
        (Reply::Json("[]".to_owned()), "cannot be read"),
        (Reply::Json(r#"{"error":[]}"#.to_owned()), "neither a result nor an error"),
        (Reply::Json(r#"{"error":[],"result":[1]}"#.to_owned()), "cannot be read"),
        (Reply::BreakOff("{"), "it keeps trying"),
    ];
    // Together, since each waits for its next attempt.
    let waited_out = async |(reply, words): (Reply, &str)| {
        let exchange = HttpExchange::start(move |_| reply.clone()).await;
        let source = start(&exchange, &["BTC_USD"]);
        source.until_health(words).await;
        assert!(matches!(source.ctx.health().state(), HealthState::NotReady(_)));
        exchange.script(kraken(|_| Reply::Json(all())));
        source.until_bid("BTC_USD", "81413.20000").await;
        source.until_ready().await;
        source.stop().await;
    };
    join_all(cases.into_iter().map(waited_out)).await;
}

#[tokio::test]
async fn too_many_requests_are_followed_by_fewer() {
    for text in ["EGeneral:Too many requests", "EAPI:Rate limit exceeded"] {
        let reply = Reply::Json(json!({"error": [text]}).to_string());
        let exchange = HttpExchange::start(move |_| reply.clone()).await;
        let source = start(&exchange, &["BTC_USD"]);
        source.until_health(text).await;
        // The next attempt is five seconds away at least; this one ends by being stopped.
        assert_eq!(exchange.count(""), 1);
        source.stop().await;
    }
}

#[tokio::test]
async fn a_warning_beside_a_result_changes_nothing() {
    let warned = all().replace(r#""error":[]"#, r#""error":["WGeneral:Something"]"#);
    let exchange = HttpExchange::start(kraken(move |_| Reply::Json(warned.clone()))).await;
    let source = start(&exchange, &["BTC_USD"]);
    source.until_ready().await;
    source.stop().await;
}

#[test]
fn wrong_keys_are_named() {
    let keys = |config: Value| match Poll::<KrakenRest>::build(serde_json::from_value(config).unwrap(), &env("k", &[]))
    {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.into_iter().map(|problem| problem.key).collect(),
    };
    assert_eq!(keys(json!({"pairs": ["BTC_USD"]})), [""; 0]);
    let wrong = json!({"endpoint": "http://api.kraken.com", "pairs": ["BTCUSD"], "interval": "30s"});
    assert_eq!(keys(wrong), ["endpoint", "stale_after", "pairs.0"]);
}
