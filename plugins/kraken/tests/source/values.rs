//! Frames that lie, make no sense, or are no frames at all: none becomes a price, none ends the source.

use ratebus_model::{Market, Status};
use serde_json::json;

use crate::with_exchange;

fn ticker(rows: &str) -> String {
    format!(r#"{{"channel":"ticker","type":"update","data":[{rows}]}}"#)
}

#[tokio::test]
async fn garbage_is_dropped_and_counted_and_the_feed_goes_on() {
    let (exchange, source) = with_exchange(&json!({})).await;
    let garbage = [
        "nonsense".to_owned(),
        String::new(),
        r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":1"#.to_owned(),
        "[".repeat(10_000),
        format!("{}{}", r#"{"data":"#.repeat(10_000), "}".repeat(10_000)),
        ticker(r#"{"symbol":"BTC/USD","bid":NaN,"ask":Infinity}"#),
        ticker(r#"{"symbol":"BTC/USD","bid":1,000.5,"ask":1,001.5}"#),
    ];
    for frame in &garbage {
        exchange.send_text(frame);
    }
    exchange.send_binary(b"\x1f\x8b\x08compressed");
    exchange.tick("BTC/USD", "81414.00", "81414.10");
    source.until_bid("BTC_USD", "81414.00").await;
    assert!(source.counted(&["ratebus_feed_frames_total", "malformed"], garbage.len() as u64));
    assert!(source.counted(&["ratebus_feed_frames_total", "binary"], 1));
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_costs_the_connection_and_no_memory() {
    let (exchange, source) = with_exchange(&json!({})).await;
    exchange.send_text(&" ".repeat(5 << 20));
    source.until_counted(&["ratebus_feed_reconnects_total", "too_large"], 1).await;
    source.until_ready().await;
    exchange.tick("BTC/USD", "81414.00", "81414.10");
    source.until_bid("BTC_USD", "81414.00").await;
    source.stop().await;
}

#[tokio::test]
async fn what_is_no_price_is_refused_and_the_last_good_one_stays() {
    let (exchange, source) = with_exchange(&json!({"max_jump_percent": 0})).await;
    let refused = [
        ("0", "81413.3", "empty_side"),
        ("81413.2", "0.00000", "empty_side"),
        ("null", "81413.3", "not_a_price"),
        ("81413.2", "\"81413.3\"", "not_a_price"),
        ("-1", "81413.3", "not_a_price"),
        ("81413.4", "81413.3", "crossed"),
        ("1e308", "1e308", "not_a_price"),
        ("1e-400", "1", "not_a_price"),
        ("1", "123456789012345678901234567890123456789012345678901234567890", "not_a_price"),
        ("0.00000000000000000000000000001", "1", "not_a_price"),
        ("{}", "[]", "not_a_price"),
    ];
    for (bid, ask, _) in refused {
        exchange.tick("BTC/USD", bid, ask);
    }
    exchange.send_text(&ticker(r#"{"symbol":"BTC/USD","ask":81000.0}"#));
    exchange.send_text(&ticker(r#"{"symbol":"BTC/USD"}"#));
    exchange.tick("ETH/USD", "3002.00", "3002.10");
    source.until_bid("ETH_USD", "3002.00").await;
    let only = ["81413.20"];
    let bids: Vec<String> = source
        .host
        .rates()
        .iter()
        .filter(|rate| rate.pair == crate::pair("BTC_USD"))
        .map(|rate| rate.value.bid().to_string())
        .collect();
    assert!(bids.iter().all(|bid| only.contains(&bid.as_str())), "{bids:?}");
    for (reason, count) in [("empty_side", 2), ("crossed", 1), ("not_a_price", 10)] {
        assert!(source.counted(&["ratebus_ticks_refused_total", reason], count), "{reason}");
    }
    // Locked is a state of real books, and exact decimals of any size are carried as they are.
    exchange.tick("BTC/USD", "0.00000001230", "12345678901234567890.12345678");
    source.until_bid("BTC_USD", "0.00000001230").await;
    assert_eq!(source.rate("BTC_USD").value.ask().to_string(), "12345678901234567890.12345678");
    exchange.tick("BTC/USD", "5.1e-05", "5.1e-05");
    source.until_bid("BTC_USD", "0.000051").await;
    source.stop().await;
}

#[tokio::test]
async fn a_refused_price_is_not_kept_fresh_by_heartbeats() {
    let (exchange, source) = with_exchange(&json!({"stale_after": "500ms"})).await;
    exchange.tick("BTC/USD", "0", "81413.3");
    source.until_status("BTC_USD", Status::Stale).await;
    assert_eq!(source.status("ETH_USD"), Status::Fresh);
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}

#[tokio::test]
async fn a_fat_finger_is_held_back_until_others_agree() {
    let (exchange, source) = with_exchange(&json!({})).await;
    exchange.tick("BTC/USD", "814132.0", "814133.0");
    exchange.tick("BTC/USD", "81415.00", "81415.10");
    source.until_bid("BTC_USD", "81415.00").await;
    assert!(source.counted(&["ratebus_ticks_refused_total", "jump"], 1));
    for bid in ["8141.50", "8141.60", "8141.70"] {
        exchange.tick("BTC/USD", bid, "8142.00");
    }
    source.until_bid("BTC_USD", "8141.70").await;
    let bids: Vec<String> = source.host.rates().iter().map(|rate| rate.value.bid().to_string()).collect();
    for held in ["814132.0", "8141.50", "8141.60"] {
        assert!(!bids.iter().any(|bid| bid == held), "{held}");
    }
    source.stop().await;
}

#[tokio::test]
async fn an_old_update_is_stale_and_an_older_one_is_dropped() {
    let (exchange, source) = with_exchange(&json!({"dead_after": "24h"})).await;
    // The pair's snapshot is of now: an update from before it is out of order.
    exchange.tick_at("BTC/USD", "81414.00", "81414.10", "2020-01-01T00:00:00.000000Z");
    source.until_counted(&["ratebus_ticks_refused_total", "older"], 1).await;
    // A relay that is an hour behind: its snapshot is believed, its updates are as old as they say.
    let now = source.ctx.clock().wall().micros();
    let ago = |seconds: i64| ratebus_model::Timestamp::from_micros(now - seconds * 1_000_000).to_string();
    exchange.send_text(&format!(
        r#"{{"channel":"ticker","type":"snapshot","data":[{{"symbol":"BTC/USD","bid":81415.00,"ask":81415.10,"timestamp":"{}"}}]}}"#,
        ago(3601)
    ));
    source.until_bid("BTC_USD", "81415.00").await;
    assert_eq!(source.status("BTC_USD"), Status::Fresh);
    exchange.tick_at("BTC/USD", "81416.00", "81416.10", &ago(3600));
    source.until_bid("BTC_USD", "81416.00").await;
    assert_eq!(source.status("BTC_USD"), Status::Stale);
    source.stop().await;
}

#[tokio::test]
async fn shuffled_and_repeated_updates_end_at_the_newest() {
    let (exchange, source) = with_exchange(&json!({})).await;
    let start = source.ctx.clock().wall().micros();
    for offset in [3, 1, 3, 7, 5, 2, 7, 9, 9, 8, 4, 6] {
        let at = ratebus_model::Timestamp::from_micros(start + offset).to_string();
        exchange.tick_at("BTC/USD", &format!("8142{offset}.00"), "81430.00", &at);
    }
    exchange.tick("ETH/USD", "3002.00", "3002.10");
    source.until_bid("ETH_USD", "3002.00").await;
    assert_eq!(source.rate("BTC_USD").value.bid().to_string(), "81429.00");
    assert!(source.counted(&["ratebus_ticks_refused_total", "older"], 6));
    source.stop().await;
}

#[tokio::test]
async fn a_market_that_is_not_matching_marks_every_pair() {
    let (exchange, source) = with_exchange(&json!({})).await;
    for (system, market) in [
        ("maintenance", Market::Maintenance),
        ("cancel_only", Market::NotMatching),
        ("post_only", Market::NotMatching),
        ("something_new", Market::Unknown),
    ] {
        exchange.status(system);
        source.until_status("ETH_USD", Status::Stale).await;
        ratebus_sdk::testkit::eventually(system, ratebus_test_exchange::DEADLINE, || {
            source.rate("BTC_USD").market == market
        })
        .await;
    }
    exchange.status("online");
    source.until_status("BTC_USD", Status::Fresh).await;
    source.stop().await;
}

#[tokio::test]
async fn symbols_we_did_not_ask_for_are_dropped() {
    let (exchange, source) = with_exchange(&json!({})).await;
    let rows = r#"{"symbol":"XBT/USD","bid":1,"ask":2},{"symbol":"btc/usd","bid":3,"ask":4},{"symbol":"ETH/USD","bid":3003.00,"ask":3003.10}"#;
    exchange.send_text(&ticker(rows));
    source.until_bid("ETH_USD", "3003.00").await;
    assert!(source.counted(&["ratebus_feed_frames_total", "unknown_symbol"], 2));
    assert_eq!(source.rate("BTC_USD").value.bid().to_string(), "81413.20");
    source.stop().await;
}
