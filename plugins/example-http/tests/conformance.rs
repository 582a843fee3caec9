//! What every source must do that asks over HTTP, against the toy exchange.

mod exchange;

use exchange::answer;
use ratebus_conformance::{HttpVenue, Unpaced};
use ratebus_example_http::ExampleHttpExchange;
use ratebus_sdk::poll::Poll;

ratebus_conformance::http_suite!(
    Poll<Unpaced<ExampleHttpExchange>>,
    HttpVenue {
        answer,
        pairs: [("BTC_USD", "BTC-USD"), ("NOPE_USD", "NOPE-USD")],
        unlisted: "unknown symbol",
        two_sided: true,
        config: "{}",
    }
);
