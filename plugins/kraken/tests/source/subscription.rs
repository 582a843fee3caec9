//! Subscriptions that are refused, lost or throttled: one pair's trouble is its own.

use ratebus_model::{PairState, Payload, Status, Subject};
use ratebus_sdk::HealthState;
use ratebus_test_exchange::{Answer, DEADLINE};
use serde_json::json;

use crate::{Running, exchange, pair};

/// How often BTC and how often ETH was asked for.
fn asked(source: &Running, exchange: &ratebus_test_exchange::Exchange) -> (usize, usize) {
    assert!(!source.task.is_finished());
    let received = exchange.received();
    let count = |symbol: &str| received.iter().filter(|text| text.contains(symbol)).count();
    (count("BTC/USD"), count("ETH/USD"))
}

fn state(source: &Running, of: &str) -> PairState {
    match &source.ctx.last_value(&Subject::pairs(source.ctx.name())).unwrap().payload {
        Payload::Pairs(list) => list.pairs.iter().find(|(pair, _)| *pair == self::pair(of)).unwrap().1.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unanswered_pair_is_asked_for_again_and_the_others_are_left_alone() {
    let exchange = exchange().await;
    exchange.answer("ETH/USD", Answer::Ignore);
    let source = Running::start(&exchange.url(), &["BTC_USD", "ETH_USD"], &json!({}));
    source.until_health("ETH_USD (not acknowledged yet)").await;
    assert!(matches!(source.ctx.health().state(), HealthState::Degraded(_)));
    exchange.wait_received(2, |text| text.contains("ETH/USD"), DEADLINE).await;
    assert_eq!(state(&source, "ETH_USD"), PairState::Pending);
    exchange.answer("ETH/USD", Answer::Acknowledge);
    source.until_ready().await;
    assert_eq!(asked(&source, &exchange).0, 1);
    assert_eq!((exchange.connections(), exchange.attempts()), (1, 1));
    source.stop().await;
}

#[tokio::test]
async fn a_pair_without_an_acknowledged_subscription_goes_stale_on_a_live_feed() {
    let (exchange, source) = Running::with_exchange(&json!({"stale_after": "500ms"})).await;
    exchange.answer("ETH/USD", Answer::Ignore);
    exchange.close(1001);
    source.until_status("ETH_USD", Status::Stale).await;
    source.until_status("BTC_USD", Status::Fresh).await;
    assert_eq!(state(&source, "BTC_USD"), PairState::Subscribed);
    source.stop().await;
}

#[tokio::test]
async fn a_refused_pair_is_named_and_never_asked_for_again() {
    let exchange = exchange().await;
    let source = Running::start(&exchange.url(), &["BTC_USD", "NOPE_USD"], &json!({}));
    source.until_health("NOPE_USD (refused: Currency pair not supported NOPE/USD)").await;
    assert_eq!(state(&source, "NOPE_USD"), PairState::Refused("Currency pair not supported NOPE/USD".to_owned()));
    source.until_bid("BTC_USD", "81413.20").await;
    exchange.close(1001);
    exchange.wait_received(2, |text| text.contains("BTC/USD"), DEADLINE).await;
    assert_eq!(exchange.received().iter().filter(|text| text.contains("NOPE")).count(), 1);
    source.stop().await;
}

#[tokio::test]
async fn a_passing_refusal_and_a_duplicate_are_not_for_good() {
    let exchange = exchange().await;
    exchange.answer("BTC/USD", Answer::Refuse("EService:Busy".to_owned()));
    let source = Running::start(&exchange.url(), &["BTC_USD"], &json!({}));
    exchange.wait_received(2, |text| text.contains("BTC/USD"), DEADLINE).await;
    exchange.answer("BTC/USD", Answer::Refuse("Already subscribed".to_owned()));
    source.until_health("BTC_USD (no price yet)").await;
    assert_eq!(state(&source, "BTC_USD"), PairState::Subscribed);
    source.stop().await;
}

#[tokio::test]
async fn after_throttling_only_the_missing_are_asked_for() {
    let exchange = exchange().await;
    exchange.answer("ETH/USD", Answer::Ignore);
    let source = Running::start(&exchange.url(), &["BTC_USD", "ETH_USD"], &json!({}));
    source.until_bid("BTC_USD", "81413.20").await;
    exchange.send_text(r#"{"Error":"Exceeded msg rate"}"#);
    source.until_counted(&["ratebus_feed_frames_total", "throttled"], 1).await;
    exchange.answer("ETH/USD", Answer::Acknowledge);
    source.until_ready().await;
    assert_eq!(asked(&source, &exchange).0, 1);
    source.stop().await;
}

#[tokio::test]
async fn pairs_go_by_the_symbols_of_the_config() {
    let exchange = exchange().await;
    exchange.list("AAPLx/USD", "210.10", "210.30");
    let symbols = json!({"symbols": {"AAPLX_USD": "AAPLx/USD"}});
    let source = Running::start(&exchange.url(), &["AAPLX_USD", "XBT/USD"], &symbols);
    source.until_bid("AAPLX_USD", "210.10").await;
    source.until_bid("BTC_USD", "81413.20").await;
    source.stop().await;
}
