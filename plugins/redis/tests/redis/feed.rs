//! What comes in.

use ratebus_model::{PairState, Status, Timestamp};

use super::*;

/// What a stranger says of BTC.
fn say(broker: &Broker, bid: &str, ask: &str, time: Timestamp) {
    let document = json!({"pair": "BTC_USD", "bid": bid, "ask": ask, "time": time}).to_string();
    broker.redis_command(&["PUBLISH", "rates:latest", &document]);
}

/// So long ago, by the wall clock.
fn ago(span: Duration) -> Timestamp {
    Timestamp::from_micros(Clock.wall().micros() - i64::try_from(span.as_micros()).unwrap())
}

/// Waits until the pairs are subscribed.
async fn until_subscribed(feed: &Running) {
    let subscribed = |message: &Message| match &message.payload {
        Payload::Pairs(list) => list.pairs.iter().all(|(_, state)| *state == PairState::Subscribed),
        _ => false,
    };
    feed.host.wait_for(subscribed, DEADLINE).await;
}

#[tokio::test]
async fn what_a_publisher_says_arrives_digit_by_digit_and_no_fresher() {
    let broker = start(BrokerOptions::default());
    let feed = start_feed(&broker.url(), &json!({"pairs": ["BTC_USD"]}));
    until_subscribed(&feed).await;
    let publisher = start_publisher(&broker.url(), &json!({}));
    publisher.until_ready().await;
    tick(&mut book(&publisher, SHORT), "BTC_USD", "0.00000000000000012340", "79228162514264337.59354395030");
    let rate = feed.until_bid("BTC_USD", "0.00000000000000012340").await;
    assert_eq!(rate.value.ask().to_string(), "79228162514264337.59354395030");
    let original = publisher.host.rate("kraken", pair("BTC_USD")).unwrap();
    assert_eq!(rate.event_time, original.event_time);
    // By the wall clock, which is read apart from the other.
    let fresher = rate.confirmed_at.saturating_duration_since(original.confirmed_at);
    assert!(fresher < SHORT.stale_after / 2, "it became fresher by {fresher:?}");
    // Its own limits are 10 s and 1 min; what the publisher says counts.
    for status in [Status::Stale, Status::Dead] {
        feed.until_status("BTC_USD", status).await;
    }
    let mut worst = Status::Fresh;
    for rate in feed.host.rates() {
        let status = rate.limits.status(rate.feed_age(Clock.now()));
        assert!(status >= worst, "it became fresher again");
        worst = worst.max(status);
    }
    publisher.stop().await;
    feed.stop().await;
}

#[tokio::test]
async fn a_stranger_is_held_to_the_rules_of_all_sources() {
    let broker = start(BrokerOptions::default());
    let feed = start_feed(&broker.url(), &json!({"stale_after": "1m", "dead_after": "2m"}));
    until_subscribed(&feed).await;
    feed.until_health("without a fresh rate: BTC_USD, ETH_USD").await;
    say(&broker, "100.10", "100.20", Clock.wall());
    feed.until_bid("BTC_USD", "100.10").await;
    feed.until_health("without a fresh rate: ETH_USD").await;
    for (bid, ask, reason) in [
        ("101", "100", "crossed"),
        ("0", "100", "empty_side"),
        ("-1", "100", "not_a_price"),
        ("NaN", "100", "not_a_price"),
        ("200", "201", "jump"),
    ] {
        say(&broker, bid, ask, Clock.wall());
        feed.until_counted(&["ratebus_ticks_refused_total", reason], 1).await;
    }
    say(&broker, "100.1", "100.2", ago(Duration::from_mins(1)));
    feed.until_counted(&["ratebus_ticks_refused_total", "older"], 1).await;
    let long = "x".repeat(9000);
    for (document, reason) in [
        (r#"{"pair":"BTC_USD","bid":"1","time":"2026-09-19T18:57:46Z"}"#, "malformed"),
        ("rubbish", "malformed"),
        (&*long, "too_large"),
        (r#"{"v":2,"pair":"BTC_USD"}"#, "version"),
        (r#"{"pair":"SOL_USD","bid":"1","ask":"2","time":"2026-09-19T18:57:46Z"}"#, "unknown_pair"),
        (r#"{"pair":"BTC_USD","bid":"1","ask":"2","time":"2926-09-19T18:57:46Z"}"#, "future"),
    ] {
        broker.redis_command(&["PUBLISH", "rates:latest", document]);
        feed.until_counted(&["ratebus_redis_documents_refused_total", reason], 1).await;
    }
    assert_eq!(feed.host.rates().len(), 1);
    feed.stop().await;
}

#[tokio::test]
async fn an_old_price_is_not_fresh() {
    let broker = start(BrokerOptions::default());
    let feed = start_feed(&broker.url(), &json!({"stale_after": "2s", "dead_after": "1m"}));
    until_subscribed(&feed).await;
    say(&broker, "100.10", "100.20", ago(Duration::from_secs(5)));
    feed.until_bid("BTC_USD", "100.10").await;
    assert_eq!(feed.status("BTC_USD"), Status::Stale);
    feed.stop().await;
}

#[tokio::test]
async fn a_lost_connection_leaves_rates_to_age_and_comes_back() {
    let broker = start(BrokerOptions::default());
    let feed = start_feed(&broker.url(), &json!({"pairs": ["BTC_USD"], "channel": "rates:*", "stale_after": "500ms"}));
    until_subscribed(&feed).await;
    say(&broker, "100.10", "100.20", Clock.wall());
    feed.until_bid("BTC_USD", "100.10").await;
    broker.kill();
    feed.until_health("nothing is heard: ").await;
    feed.until_status("BTC_USD", Status::Stale).await;
    broker.restart();
    // Whether it listens again is for Redis to say: it counts who heard a document.
    let again = r#"{"pair":"BTC_USD","bid":"100.30","ask":"100.40","time":"TIME"}"#;
    let heard = || {
        let document = again.replace("TIME", &Clock.wall().to_string());
        broker.redis_command(&["PUBLISH", "rates:latest", &document]) == "1"
    };
    eventually("it listens again", DEADLINE, heard).await;
    let rate = feed.until_bid("BTC_USD", "100.30").await;
    assert_eq!(rate.version.sequence, 2, "sequences go on");
    feed.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed() {
    let broker = start(BrokerOptions::default());
    let feed = start_feed(&broker.url(), &json!({}));
    until_subscribed(&feed).await;
    broker.signal("STOP");
    feed.until_health("nothing is heard: ").await;
    broker.signal("CONT");
    feed.until_health("without a fresh rate").await;
    feed.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let broker = start(BrokerOptions { password: Some("right-one"), tls: false });
    let feed = start_feed(&broker.url_with(Some("wrong-one")), &json!({}));
    feed.until_health("nothing is heard: Redis: ").await;
    let state = format!("{:?}", feed.ctx.health().state());
    assert!(!state.contains("wrong-one"), "{state}");
    feed.stop().await;
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted() {
    let broker = start(BrokerOptions { password: Some("secret"), tls: true });
    let stranger = start_feed(&broker.url(), &json!({}));
    stranger.until_health("nothing is heard: ").await;
    stranger.stop().await;
    let trusting = json!({"ca_file": broker.ca_file(), "pairs": ["BTC_USD"]});
    let feed = start_feed(&broker.url(), &trusting);
    until_subscribed(&feed).await;
    let publisher = start_publisher(&broker.url(), &json!({"ca_file": broker.ca_file()}));
    tick(&mut book(&publisher, Limits::STREAM), "BTC_USD", "1", "2");
    feed.until_bid("BTC_USD", "1").await;
    feed.until_ready().await;
    publisher.stop().await;
    feed.stop().await;
}
