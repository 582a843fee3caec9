//! What every source must do that asks over HTTP, by config alone: with a request for each pair, and with one for all.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_conformance::{HttpVenue, Listed};
use ratebus_http_json::HttpJson;
use ratebus_sdk::poll::Poll;
use ratebus_test_exchange::{Asked, Reply};

/// The pair that is asked for, or that there is none.
fn one(asked: &Asked, listed: &[Listed]) -> Reply {
    let name = asked.target.strip_prefix("/ticker/").unwrap();
    match listed.iter().find(|(symbol, ..)| *symbol == name) {
        Some((symbol, bid, ask)) => Reply::Json(format!(r#"{{"pair":"{symbol}","bid":"{bid}","ask":"{ask}"}}"#)),
        None => Reply::status(404, "<html>Not found</html>"),
    }
}

/// All there are, with numbers for prices.
fn all(_: &Asked, listed: &[Listed]) -> Reply {
    let row = |(symbol, bid, ask): &Listed| format!(r#"{{"s":"{symbol}","b":[[{bid},5]],"a":[[{ask},5]]}}"#);
    Reply::Json(format!("[{}]", listed.iter().map(row).collect::<Vec<_>>().join(",")))
}

mod one_by_one {
    use super::*;

    ratebus_conformance::http_suite!(
        Poll<HttpJson>,
        HttpVenue {
            answer: one,
            pairs: [("BTC_USD", "btcusd"), ("ETH_USD", "ethusd")],
            unlisted: "the exchange answers with HTTP 404",
            two_sided: true,
            config: r#"{"protocol": {"path": "/ticker/{symbol}", "symbol": "{base}{quote}", "name": "/pair",
                "bid": "/bid", "ask": "/ask", "requests_per_second": 100}}"#,
        }
    );
}

mod all_at_once {
    use super::*;

    ratebus_conformance::http_suite!(
        Poll<HttpJson>,
        HttpVenue {
            answer: all,
            pairs: [("BTC_USD", "BTC-USD"), ("ETH_USD", "ETH-USD")],
            unlisted: "the answer leaves the pair out",
            two_sided: true,
            config: r#"{"protocol": {"path": "/tickers", "list": "", "name": "/s", "bid": "/b/0/0", "ask": "/a/0/0",
                "requests_per_second": 100}}"#,
        }
    );
}
