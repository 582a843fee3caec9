//! What every source must do that asks over HTTP.

use ratebus_conformance::{HttpVenue, Listed, Unpaced, http_suite};
use ratebus_kraken::KrakenRest;
use ratebus_sdk::poll::Poll;
use ratebus_test_exchange::{Asked, Reply};

use super::{LISTED, ONLINE, row, ticker};

fn answer(asked: &Asked, listed: &[Listed]) -> Reply {
    Reply::Json(match asked.target.split('?').next().unwrap() {
        "/0/public/AssetPairs" => LISTED.to_owned(),
        "/0/public/SystemStatus" => ONLINE.to_owned(),
        _ => ticker(&listed.iter().map(|(key, bid, ask)| row(key, bid, ask)).collect::<Vec<_>>()),
    })
}

http_suite!(
    Poll<Unpaced<KrakenRest>>,
    HttpVenue {
        answer,
        pairs: [("BTC_USD", "XXBTZUSD"), ("NOPE_USD", "NOPEUSD")],
        unlisted: "Kraken does not list the pair",
        two_sided: true,
        config: "{}",
    }
);
