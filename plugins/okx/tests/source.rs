//! The source against a scripted exchange, over real sockets: what every source must do.

use ratebus_conformance::{Venue, suite};
use ratebus_okx::Okx;
use ratebus_sdk::stream::Stream;

suite!(
    Stream<Okx>,
    Venue {
        protocol: &ratebus_test_exchange::Okx,
        pairs: [("BTC_USDT", "BTC-USDT"), ("ETH_USDT", "ETH-USDT"), ("NOPE_USDT", "NOPE-USDT")],
        unlisted: "refused: Wrong URL or channel:bbo-tbt,instId:NOPE-USDT doesn't exist",
        config: "{}",
    }
);
