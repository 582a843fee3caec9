//! The source against a scripted exchange, over real sockets: what every source must do.

use ratebus_bitstamp::Bitstamp;
use ratebus_conformance::{Venue, suite};
use ratebus_sdk::stream::Stream;

suite!(
    Stream<Bitstamp>,
    Venue {
        protocol: &ratebus_test_exchange::Bitstamp,
        pairs: [("BTC_USD", "btcusd"), ("ETH_USD", "ethusd"), ("NOPE_USD", "nopeusd")],
        unlisted: "no price yet",
        config: "{}",
    }
);
