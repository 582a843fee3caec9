//! Subscriptions that are refused, lost or throttled: one pair's trouble is its own.

use ratebus_model::{PairState, Payload, Status, Subject};
use ratebus_sdk::{HealthState, testkit::eventually};
use ratebus_test_exchange::{Answer, DEADLINE};
use serde_json::json;

use crate::{Running, STALL, exchange, pair, start, with_exchange};

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
    let source = start(&exchange.url(), &["BTC_USD", "ETH_USD"], &json!({}));
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
    let (exchange, source) = with_exchange(&json!({"stale_after": "500ms"})).await;
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
    let source = start(&exchange.url(), &["BTC_USD", "NOPE_USD"], &json!({}));
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
    let source = start(&exchange.url(), &["BTC_USD"], &json!({}));
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
    let source = start(&exchange.url(), &["BTC_USD", "ETH_USD"], &json!({}));
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
    let source = start(&exchange.url(), &["AAPLX_USD", "XBT/USD"], &symbols);
    source.until_bid("AAPLX_USD", "210.10").await;
    source.until_bid("BTC_USD", "81413.20").await;
    source.stop().await;
}

/// Asked for anew as soon as can be.
fn audited() -> serde_json::Value {
    json!({"stale_after": "600ms", "audit_after": "600ms"})
}

const AUDITS: &str = "ratebus_feed_audits_total";

#[tokio::test]
async fn a_subscription_lost_without_a_word_comes_back_with_the_price_of_now() {
    let (exchange, source) = with_exchange(&audited()).await;
    exchange.forget("ETH/USD");
    exchange.tick("ETH/USD", "3050.00", "3050.10");
    source.until_bid("ETH_USD", "3050.00").await;
    source.until_counted(&[AUDITS, "outcome=\"moved\""], 1).await;
    exchange.tick("ETH/USD", "3051.00", "3051.10");
    source.until_bid("ETH_USD", "3051.00").await;
    source.until_status("ETH_USD", Status::Fresh).await;
    source.until_status("BTC_USD", Status::Fresh).await;
    assert_eq!(source.rate("BTC_USD").version.sequence, 1);
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}

#[tokio::test]
async fn quiet_pairs_stay_fresh_and_unnoticed_through_audits() {
    let (exchange, source) = with_exchange(&audited()).await;
    let lists = || source.host.messages().iter().filter(|message| matches!(message.payload, Payload::Pairs(_))).count();
    let before = lists();
    eventually("three audits of both pairs", DEADLINE, || {
        assert_eq!(source.ctx.health().state(), HealthState::Ready);
        assert_eq!((source.status("BTC_USD"), source.status("ETH_USD")), (Status::Fresh, Status::Fresh));
        source.counted(&[AUDITS, "outcome=\"same\""], 6)
    })
    .await;
    assert_eq!((source.rate("BTC_USD").version.sequence, source.rate("ETH_USD").version.sequence), (1, 1));
    assert_eq!((lists(), exchange.attempts()), (before, 1));
    assert!(!source.counted(&[AUDITS, "moved"], 1));
    source.stop().await;
}

#[tokio::test]
async fn a_pair_whose_audit_is_not_answered_ages_and_is_named_and_comes_back() {
    let (exchange, source) = with_exchange(&audited()).await;
    exchange.answer("ETH/USD", Answer::Ignore);
    source.until_health("ETH_USD (not acknowledged yet)").await;
    assert_eq!(state(&source, "ETH_USD"), PairState::Pending);
    // Heartbeats have not vouched for it since it was asked for.
    assert!(source.rate("BTC_USD").confirmed_at - source.rate("ETH_USD").confirmed_at > STALL);
    source.until_status("ETH_USD", Status::Stale).await;
    source.until_status("BTC_USD", Status::Fresh).await;
    exchange.answer("ETH/USD", Answer::Acknowledge);
    source.until_ready().await;
    source.until_status("ETH_USD", Status::Fresh).await;
    assert!(source.counted(&[AUDITS, "unanswered"], 1));
    assert_eq!((source.rate("ETH_USD").version.sequence, exchange.attempts()), (1, 1));
    source.stop().await;
}

#[tokio::test]
async fn a_connection_that_lost_its_only_pair_to_an_audit_is_replaced() {
    let exchange = exchange().await;
    let source = start(&exchange.url(), &["BTC_USD"], &audited());
    source.until_ready().await;
    exchange.answer("BTC/USD", Answer::Ignore);
    source.until_counted(&["ratebus_feed_reconnects_total", "stalled"], 1).await;
    exchange.answer("BTC/USD", Answer::Acknowledge);
    source.until_ready().await;
    source.until_status("BTC_USD", Status::Fresh).await;
    source.stop().await;
}

#[tokio::test]
async fn a_pair_delisted_meanwhile_is_refused_by_its_audit() {
    let (exchange, source) = with_exchange(&audited()).await;
    exchange.answer("ETH/USD", Answer::Refuse("Currency pair not supported ETH/USD".to_owned()));
    source.until_health("ETH_USD (refused: Currency pair not supported ETH/USD)").await;
    source.until_status("ETH_USD", Status::Stale).await;
    source.until_status("BTC_USD", Status::Fresh).await;
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}

#[tokio::test]
async fn in_maintenance_nothing_is_audited() {
    let (exchange, source) = with_exchange(&audited()).await;
    exchange.status("maintenance");
    source.until_status("ETH_USD", Status::Stale).await;
    let asked_before = asked(&source, &exchange);
    // Two seconds and more of them.
    source.until_counted(&["ratebus_feed_frames_total", "heartbeat"], 50).await;
    assert_eq!(asked(&source, &exchange), asked_before);
    exchange.status("online");
    source.until_counted(&[AUDITS, "same"], 2).await;
    source.stop().await;
}
