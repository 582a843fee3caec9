//! The source against a scripted `CoinMarketCap` over real sockets, and over recorded answers.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod conformance;
mod errors;
mod values;

use std::time::Duration;

use ratebus_coinmarketcap::CoinMarketCap;
use ratebus_conformance::Running;
use ratebus_sdk::poll::Poll;
use ratebus_test_exchange::{Asked, HttpExchange, Reply};
use serde_json::{Value, json};

/// The key of the account, which must be seen in one header and nowhere else.
const KEY: &str = "b54bcf4d-1bca-4e8e-9a24-22ff2c3d462c";

/// Rounds are so few that no test, however slow, comes to the limit of a minute.
fn start(exchange: &HttpExchange, pairs: &[&str], protocol: &Value) -> Running {
    let mut protocol = protocol.clone();
    protocol["api_key"] = json!(KEY);
    let config = json!({"endpoint": exchange.url(), "pairs": pairs, "interval": "3s", "protocol": protocol});
    Running::with::<Poll<CoinMarketCap>>(config)
}

fn ids() -> Value {
    json!({"ids": {"BTC": 1, "ETH": 1027}})
}

/// A coin of version 3, updated so many seconds before 07:00.
fn coin(id: u64, symbol: &str, price: &str, before: u64) -> String {
    let time = Duration::from_secs(7 * 3600 - before).as_secs();
    let time = format!("2022-06-16T{:02}:{:02}:{:02}.000Z", time / 3600, time / 60 % 60, time % 60);
    format!(
        r#"{{"id":{id},"name":"A coin","symbol":"{symbol}","is_active":1,"last_updated":"{time}","quote":[
            {{"id":2790,"symbol":"EUR","price":9,"last_updated":"{time}"}},
            {{"id":2781,"symbol":"USD","price":{price},"volume_24h":1.5,"tvl":null,"last_updated":"{time}"}}]}}"#
    )
}

/// An answer of 07:00.
fn answer(data: &str) -> String {
    let status = r#"{"timestamp":"2022-06-16T07:00:00.000Z","error_code":"0","error_message":"","credit_count":1}"#;
    format!(r#"{{"status":{status},"data":{data}}}"#)
}

fn refusal(code: i64, message: &str) -> String {
    json!({"status": {"timestamp": "2022-06-16T07:00:00.000Z", "error_code": code, "error_message": message}})
        .to_string()
}

fn both() -> Reply {
    let (btc, eth) = (coin(1, "BTC", "21871.88352845583", 60), coin(1027, "ETH", "1.20000e3", 120));
    Reply::Json(answer(&format!("[{btc},{eth}]")))
}

/// The plan, with credits left for the day and the month; it renews at 07:10.
fn plan(day: u32, month: u32) -> Reply {
    let reset = "2022-06-16T07:10:00.000Z";
    let data = json!({
        "plan": {"credit_limit_daily_reset_timestamp": reset, "credit_limit_monthly_reset_timestamp": reset,
            "rate_limit_minute": 30},
        "usage": {"current_minute": {"requests_made": 1, "requests_left": 29},
            "current_day": {"credits_used": 7, "credits_left": day},
            "current_month": {"credits_used": 8.5, "credits_left": month}},
    });
    Reply::Json(answer(&data.to_string()))
}

/// Answers as the API does, and requests for quotes as `quotes` says.
fn api(mut quotes: impl FnMut(&Asked) -> Reply + Send + 'static) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    move |asked| match asked.target.split('?').next().unwrap() {
        "/v1/key/info" => plan(93, 9000),
        "/v1/cryptocurrency/map" => panic!("{}", asked.target),
        _ => quotes(asked),
    }
}
