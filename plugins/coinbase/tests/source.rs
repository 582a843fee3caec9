//! The source against a scripted exchange, over real sockets: what every source must do.

use std::time::Duration;

use ratebus_coinbase::Coinbase;
use ratebus_conformance::{Running, Venue, suite};
use ratebus_model::Status;
use ratebus_sdk::stream::Stream;
use ratebus_test_exchange::Exchange;
use serde_json::json;

suite!(
    Stream<Coinbase>,
    Venue {
        protocol: &ratebus_test_exchange::Coinbase,
        pairs: [("BTC_USD", "BTC-USD"), ("ETH_USD", "ETH-USD"), ("NOPE_USD", "NOPE-USD")],
        unlisted: "refused: NOPE-USD is not a valid product",
        config: "{}",
    }
);

/// Heartbeats are of each product: one that has none is not vouched for by those of another.
#[tokio::test]
async fn a_product_without_heartbeats_ages_alone_and_is_asked_for_anew() {
    let exchange = Exchange::start_as(&ratebus_test_exchange::Coinbase).await;
    exchange.heartbeats(Some(Duration::from_millis(50)));
    exchange.list("BTC-USD", "81413.20", "81413.30");
    exchange.list("ETH-USD", "3001.00", "3001.10");
    let ages = json!({"stale_after": "3s", "stall_after": "3s", "audit_after": "4s"});
    let source = Running::start::<Stream<Coinbase>>(&exchange.url(), &["BTC_USD", "ETH_USD"], &ages);
    source.until_ready().await;
    exchange.list("ETH-USD", "3050.00", "3050.10");
    exchange.forget("ETH-USD");
    source.until_status("ETH_USD", Status::Stale).await;
    source.until_bid("ETH_USD", "3050.00").await;
    source.until_status("ETH_USD", Status::Fresh).await;
    source.until_counted(&["ratebus_feed_audits_total", "outcome=\"moved\""], 1).await;
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}
