//! What every source must do that asks over HTTP.

use std::time::SystemTime;

use ratebus_coinmarketcap::CoinMarketCap;
use ratebus_conformance::{HttpVenue, Listed, Unpaced, http_suite};
use ratebus_model::Timestamp;
use ratebus_sdk::poll::Poll;
use ratebus_test_exchange::{Asked, Reply};

/// As the API does that has just these coins, each updated this moment.
fn answer(asked: &Asked, listed: &[Listed]) -> Reply {
    if asked.target == "/v1/key/info" {
        return crate::plan(93, 9000);
    }
    let now = Timestamp::from(SystemTime::now());
    let coin = |(symbol, price, _): &Listed| {
        let quote = format!(r#"{{"symbol":"USD","price":{price},"last_updated":"{now}"}}"#);
        format!(r#"{{"id":1,"symbol":"{symbol}","is_active":1,"quote":[{quote}]}}"#)
    };
    let coins: Vec<String> = listed.iter().map(coin).collect();
    let status = format!(r#"{{"timestamp":"{now}","error_code":0,"error_message":null}}"#);
    Reply::Json(format!(r#"{{"status":{status},"data":[{}]}}"#, coins.join(",")))
}

http_suite!(
    Poll<Unpaced<CoinMarketCap>>,
    HttpVenue {
        answer,
        pairs: [("BTC_USD", "BTC"), ("ETH_USD", "ETH")],
        unlisted: "CoinMarketCap's answer leaves the coin out",
        two_sided: false,
        config: r#"{"protocol": {"api_key": "s3cret", "ids": {"BTC": 1, "ETH": 1027}, "decimals": 18}}"#,
    }
);
