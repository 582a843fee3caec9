//! What every source must do, against the toy exchange.

mod exchange;

use exchange::Toy;
use ratebus_conformance::Venue;
use ratebus_example_websocket::ExampleWebsocketExchange;
use ratebus_sdk::stream::Stream;

ratebus_conformance::suite!(
    Stream<ExampleWebsocketExchange>,
    Venue {
        protocol: &Toy,
        pairs: [("BTC_USD", "BTC-USD"), ("ETH_USD", "ETH-USD"), ("NOPE_USD", "NOPE-USD")],
        unlisted: "refused: unknown symbol",
        config: "{}",
    }
);
