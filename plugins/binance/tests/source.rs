//! The source against a scripted exchange, over real sockets: what every source must do.

use ratebus_binance::Binance;
use ratebus_conformance::{Venue, suite};
use ratebus_sdk::stream::Stream;

suite!(
    Stream<Binance>,
    Venue {
        protocol: &ratebus_test_exchange::Binance,
        pairs: [("BTC_USDT", "BTCUSDT"), ("ETH_USDT", "ETHUSDT"), ("NOPE_USDT", "NOPEUSDT")],
        unlisted: "no price yet",
        config: "{}",
    }
);
