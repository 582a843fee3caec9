//! The source against a scripted exchange, over real sockets: what every source must do.

use ratebus_coinbase::Coinbase;
use ratebus_conformance::{Venue, suite};
use ratebus_sdk::stream::Stream;

suite!(
    Stream<Coinbase>,
    Venue {
        protocol: &ratebus_test_exchange::Coinbase,
        pairs: [("BTC_USD", "BTC-USD"), ("ETH_USD", "ETH-USD"), ("NOPE_USD", "NOPE-USD")],
        unlisted: "refused: NOPE-USD is not a valid product",
        config: "{}",
    }
);
