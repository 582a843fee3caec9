//! Connections that end, hang, are refused, or are not to be trusted.

use std::{io::Write, time::Instant};

use ratebus_model::Status;
use ratebus_sdk::HealthState;
use ratebus_test_exchange::{DEADLINE, Exchange, TestCa};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{STALL, exchange, start, with_exchange};

#[tokio::test]
async fn the_first_rates_come_digit_for_digit() {
    let (exchange, source) = with_exchange(&json!({})).await;
    let rate = source.until_bid("BTC_USD", "81413.20").await;
    assert_eq!(rate.value.ask().to_string(), "81413.30");
    assert!(rate.event_time.is_some());
    exchange.tick("BTC/USD", "81414.10", "81414.20");
    source.until_bid("BTC_USD", "81414.10").await;
    assert!(source.counted(&["ratebus_feed_connects_total", "outcome=\"ok\""], 1));
    assert!(source.counted(&["ratebus_feed_connected"], 1));
    source.stop().await;
}

#[tokio::test]
async fn every_kind_of_end_leads_to_a_new_connection_with_all_pairs() {
    type Ending = (fn(&Exchange), &'static str);
    let endings: [Ending; 6] = [
        (|exchange| exchange.close(1000), "closed"),
        (|exchange| exchange.close(1012), "closed"),
        (|exchange| exchange.close(1013), "closed"),
        (Exchange::reset, "lost"),
        (|exchange| exchange.send_text("CloudFlare WebSocket proxy restarting"), "asked"),
        (|exchange| exchange.send_raw_text(&[0xff, 0xfe]), "protocol"),
    ];
    for (end, reason) in endings {
        let (exchange, source) = with_exchange(&json!({})).await;
        exchange.list("BTC/USD", "81420.00", "81420.10");
        end(&exchange);
        source.until_bid("BTC_USD", "81420.00").await;
        source.until_ready().await;
        exchange.wait_subscribed(&["BTC/USD", "ETH/USD"], DEADLINE).await;
        assert!(source.counted(&["ratebus_feed_reconnects_total", &format!("reason=\"{reason}\"")], 1), "{reason}");
        assert_eq!(exchange.attempts(), 2);
        source.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_hangs_is_replaced_and_its_rates_age_meanwhile() {
    let (exchange, source) = with_exchange(&json!({"stale_after": "400ms"})).await;
    exchange.heartbeats(None);
    exchange.hang();
    source.until_status("BTC_USD", Status::Stale).await;
    source.until_counted(&["ratebus_feed_reconnects_total", "stalled"], 1).await;
    exchange.heartbeats(Some(crate::BEAT));
    source.until_status("BTC_USD", Status::Fresh).await;
    source.stop().await;
}

#[tokio::test]
async fn pongs_alone_do_not_keep_a_connection() {
    let (exchange, source) = with_exchange(&json!({})).await;
    exchange.heartbeats(None);
    let silent_since = Instant::now();
    let stalled = ["ratebus_feed_reconnects_total", "stalled"];
    while !source.counted(&stalled, 1) {
        assert!(silent_since.elapsed() < DEADLINE);
        exchange.send_text(r#"{"method":"pong","req_id":1}"#);
        tokio::time::sleep(STALL / 8).await;
    }
    source.stop().await;
}

#[tokio::test]
async fn an_exchange_that_is_down_is_found_again() {
    let mut exchange = exchange().await;
    exchange.go_down().await;
    let source = start(&exchange.url(), &["BTC_USD", "ETH_USD"], &json!({}));
    source.until_health(&format!("connecting to {}", exchange.url())).await;
    source.until_health("it keeps trying").await;
    assert!(matches!(source.ctx.health().state(), HealthState::NotReady(_)));
    exchange.come_back().await;
    source.until_ready().await;
    assert!(source.counted(&["ratebus_feed_connects_total", "outcome=\"connect\""], 1));
    exchange.go_down().await;
    source.until_health("it keeps trying").await;
    exchange.come_back().await;
    source.until_ready().await;
    source.stop().await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let exchange = exchange().await;
    exchange.refuse_handshakes(Some((429, Some(2))));
    let source = start(&exchange.url(), &["BTC_USD"], &json!({}));
    exchange.wait_attempts(1, DEADLINE).await;
    let refused_at = Instant::now();
    source.until_health("HTTP 429").await;
    exchange.refuse_handshakes(None);
    exchange.wait_attempts(2, DEADLINE).await;
    assert!(refused_at.elapsed().as_millis() > 1900, "{:?}", refused_at.elapsed());
    assert!(source.counted(&["ratebus_feed_connects_total", "rate_limited"], 1));
    source.until_ready().await;
    source.stop().await;
}

#[tokio::test]
async fn only_a_valid_certificate_of_a_trusted_authority_for_this_name_will_do() {
    let (ours, foreign) = (TestCa::new(), TestCa::new());
    let mut ca_file = NamedTempFile::new().unwrap();
    ca_file.write_all(ours.pem().as_bytes()).unwrap();
    let private = json!({"ca_file": ca_file.path()});
    let here = ["127.0.0.1"];

    let exchange = Exchange::start_tls(&ours, &here).await;
    exchange.list("BTC/USD", "1.00", "1.10");
    let source = start(&exchange.url(), &["BTC_USD"], &private);
    source.until_ready().await;
    source.stop().await;

    let untrusted = [
        (Exchange::start_tls(&ours, &["other.example"]).await, &private),
        (Exchange::start_tls(&foreign, &here).await, &private),
        (Exchange::start_tls_expired(&ours, &here).await, &private),
        // Without ca_file only the public authorities hold.
        (Exchange::start_tls(&ours, &here).await, &json!({})),
    ];
    for (exchange, config) in untrusted {
        exchange.list("BTC/USD", "1.00", "1.10");
        let source = start(&exchange.url(), &["BTC_USD"], config);
        source.until_health("the server's certificate is refused").await;
        assert!(source.counted(&["ratebus_feed_connects_total", "outcome=\"auth\""], 1));
        assert_eq!((source.host.rates().len(), exchange.connections()), (0, 0));
        source.stop().await;
    }
}
