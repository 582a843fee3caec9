//! The source against a scripted exchange, over real sockets: what every source must do, and what Kraken does at its worst.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod connection;
mod subscription;
mod values;

use std::time::Duration;

use ratebus_conformance::{Running, Venue};
use ratebus_kraken::Kraken;
use ratebus_model::Pair;
use ratebus_sdk::stream::Stream;
use ratebus_test_exchange::Exchange;
use serde_json::Value;

/// Short enough for tests, long against the heartbeats of the scripted exchange.
const STALL: Duration = Duration::from_millis(400);
const BEAT: Duration = Duration::from_millis(50);

mod conformance {
    use super::{Kraken, Stream, Venue};

    ratebus_conformance::suite!(
        Stream<Kraken>,
        Venue {
            protocol: &ratebus_test_exchange::Kraken,
            pairs: [("BTC_USD", "BTC/USD"), ("ETH_USD", "ETH/USD"), ("NOPE_USD", "NOPE/USD")],
            unlisted: "refused: Currency pair not supported NOPE/USD",
            config: "{}",
        }
    );
}

/// A source of these pairs connected to `url`, with `more` in its config.
fn start(url: &str, pairs: &[&str], more: &Value) -> Running {
    Running::start::<Stream<Kraken>>(url, pairs, more)
}

/// An exchange that lists BTC and ETH, and a source that has both.
async fn with_exchange(more: &Value) -> (Exchange, Running) {
    let exchange = exchange().await;
    let source = start(&exchange.url(), &["BTC_USD", "ETH_USD"], more);
    source.until_ready().await;
    (exchange, source)
}

async fn exchange() -> Exchange {
    let exchange = Exchange::start().await;
    exchange.heartbeats(Some(BEAT));
    exchange.list("BTC/USD", "81413.20", "81413.30");
    exchange.list("ETH/USD", "3001.00", "3001.10");
    exchange
}

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}
