//! Errors, each with its own act.

use std::{fs, path::Path};

use ratebus_sdk::{ErrorKind, HealthState, Retry};
use ratebus_test_exchange::{HttpExchange, Reply};
use serde_json::Value;

use crate::{KEY, answer, api, both, ids, plan, refusal, start};

/// The codes that no waiting cures.
const FINAL: [(u16, i64); 6] = [(401, 1001), (401, 1002), (402, 1003), (402, 1004), (403, 1005), (403, 1007)];

#[tokio::test]
async fn a_key_that_is_no_good_ends_the_source() {
    for (status, code) in FINAL {
        // Whatever it says, the key is not repeated.
        let body = refusal(code, &format!("the key {KEY} is no good"));
        let exchange = HttpExchange::start(move |_| Reply::status(status, body.clone())).await;
        let source = start(&exchange, &["BTC_USD"], &ids());
        let error = source.task.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Auth, Retry::Never));
        assert!(error.to_string().contains(&format!("CoinMarketCap says {code}")), "{error}");
        assert!(!error.to_string().contains(KEY), "{error}");
        assert_eq!(exchange.count(""), 1);
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_a_source_that_worked() {
    let exchange = HttpExchange::start(api(|_| both())).await;
    let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
    source.until_ready().await;
    // An error on HTTP 200 is one, too.
    exchange.script(|_| Reply::Json(refusal(1007, "This API Key has been disabled.")));
    let error = source.task.await.unwrap().unwrap_err();
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn an_older_version_is_asked_where_the_plan_lacks_the_newest() {
    let exchange = HttpExchange::start(api(|asked| match &asked.target[..4] {
        "/v3/" | "/v2/" => Reply::status(403, refusal(1006, "Your plan doesn't support this endpoint.")),
        _ => both(),
    }))
    .await;
    let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
    source.until_ready().await;
    exchange.wait_more("/v1/cryptocurrency", 1).await;
    let versions: Vec<String> =
        exchange.asked().iter().map(|asked| asked.target[..4].to_owned()).skip(1).take(4).collect();
    assert_eq!(versions, ["/v3/", "/v2/", "/v1/", "/v1/"]);
    source.stop().await;

    let exchange = HttpExchange::start(api(|_| Reply::status(403, refusal(1006, "no")))).await;
    let source = start(&exchange, &["BTC_USD"], &ids());
    assert_eq!(source.task.await.unwrap().unwrap_err().retry(), Retry::Never);
}

#[tokio::test]
async fn the_limits_of_the_minute_and_of_the_address_are_waited_out() {
    for code in [1008, 1011] {
        let exchange = HttpExchange::start(api(move |_| Reply::status(429, refusal(code, "too many")))).await;
        let source = start(&exchange, &["BTC_USD"], &ids());
        source.until_health(&format!("CoinMarketCap says {code}")).await;
        // A minute at least: this test ends before.
        assert_eq!((exchange.count("/v3/"), exchange.count("")), (1, 2));
        source.until_counted(&["ratebus_feed_polls_total", "refused"], 1).await;
        source.stop().await;
    }
}

#[tokio::test]
async fn used_up_credits_are_waited_for_until_they_are_given_anew() {
    for (code, words) in [(1009, "the credits of the day"), (1010, "the credits of the month")] {
        let exchange = HttpExchange::start(api(move |_| Reply::status(429, refusal(code, "used up")))).await;
        let source = start(&exchange, &["BTC_USD"], &ids());
        source.until_health(&format!("{words} are used up; there are new ones in 10 min")).await;
        let targets: Vec<String> = exchange.asked().into_iter().map(|asked| asked.target[..4].to_owned()).collect();
        assert_eq!(targets, ["/v1/", "/v3/", "/v1/"], "asked once, and then for the time of the next ones");
        source.stop().await;
    }
}

#[tokio::test]
async fn without_credits_nothing_that_costs_some_is_asked() {
    let exchange = HttpExchange::start(|asked| match asked.target.as_str() {
        "/v1/key/info" => plan(5, 0),
        other => panic!("{other}"),
    })
    .await;
    let source = start(&exchange, &["BTC_USD"], &ids());
    source.until_health("the credits of the month are used up").await;
    assert_eq!(exchange.count(""), 1);
    source.stop().await;
}

#[tokio::test]
async fn what_is_the_server_s_fault_is_tried_again() {
    let page = "<html><title>Attention Required! | Cloudflare</title></html>";
    let cases = vec![
        (Reply::status(500, refusal(500, "An internal server error occurred")), "CoinMarketCap says 500"),
        (Reply::Json(refusal(500, "The system is busy")), "The system is busy"),
        (Reply::Json(refusal(4001, "new")), "CoinMarketCap says 4001"),
        (Reply::status(403, page), "HTTP 403"),
        (Reply::status(502, page), "HTTP 502"),
        (Reply::status(404, r#"{"statusCode":404,"error":"Not Found"}"#), "HTTP 404"),
        (Reply::status(200, page), "a page and no JSON"),
        (Reply::status(200, ""), "is empty"),
        (Reply::Json(r#"{"status":{"error_code":0}}"#.to_owned()), "neither data nor an error"),
        (Reply::Json(answer("5")), "cannot be read"),
    ];
    let tried_again = async |(reply, words): (Reply, &str)| {
        let exchange = HttpExchange::start(api(move |_| reply.clone())).await;
        let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
        source.until_health(words).await;
        assert!(matches!(source.ctx.health().state(), HealthState::NotReady(_)));
        exchange.script(api(|_| both()));
        source.until_ready().await;
        source.stop().await;
    };
    futures_util::future::join_all(cases.into_iter().map(tried_again)).await;
}

#[tokio::test]
async fn what_is_left_of_the_plan_may_stay_unknown() {
    for reply in [Reply::status(500, ""), Reply::status(403, refusal(1006, "no")), Reply::Json(answer("[]"))] {
        let exchange = HttpExchange::start(move |asked| match asked.target.as_str() {
            "/v1/key/info" => reply.clone(),
            _ => both(),
        })
        .await;
        let source = start(&exchange, &["BTC_USD", "ETH_USD"], &ids());
        source.until_ready().await;
        source.stop().await;
    }
}

/// Each error that is documented leads to its act, whatever becomes of the list.
#[tokio::test]
async fn every_documented_error_is_one() {
    let file = "../../../shared/fixtures/coinmarketcap/errors_documented_not_captured.jsonl";
    let Ok(lines) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
        return eprintln!("SKIPPED: the list of errors is not here");
    };
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let status = u16::try_from(case["http_status"].as_u64().unwrap()).unwrap();
        let code = case["body"]["status"]["error_code"].as_i64().unwrap();
        let body = case["body"].to_string();
        let exchange = HttpExchange::start(api(move |_| Reply::status(status, body.clone()))).await;
        let source = start(&exchange, &["BTC_USD"], &ids());
        if FINAL.contains(&(status, code)) || code == 1006 {
            assert_eq!(source.task.await.unwrap().unwrap_err().retry(), Retry::Never, "{line}");
        } else {
            let words = if matches!(code, 1009 | 1010) { "are used up" } else { "CoinMarketCap says" };
            source.until_health(words).await;
            source.stop().await;
        }
    }
}
