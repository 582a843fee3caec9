//! The source against a scripted exchange, over real sockets: what every source must do, and what is Binance's own.

use std::time::{Duration, Instant};

use ratebus_binance::Binance;
use ratebus_conformance::{Running, Venue, suite};
use ratebus_model::{Pair, Status};
use ratebus_sdk::{
    feed::Decode,
    stream::{self, Rules, Stream, Symbols},
    testkit::eventually,
};
use ratebus_test_exchange::{Answer, DEADLINE, Exchange};
use serde::Deserialize;
use serde_json::json;

suite!(
    Stream<Binance>,
    Venue {
        protocol: &ratebus_test_exchange::Binance,
        pairs: [("BTC_USDT", "BTCUSDT"), ("ETH_USDT", "ETHUSDT"), ("NOPE_USDT", "NOPEUSDT")],
        unlisted: "no price yet",
        config: "{}",
    }
);

/// An exchange like Binance whose connections are soon too old.
#[derive(Debug, Default, Deserialize)]
struct ShortLived {}

impl stream::Exchange for ShortLived {
    const TYPE: &'static str = "source/short-lived";
    const ENDPOINT: Option<&'static str> = None;

    fn rules(&self) -> Rules {
        let rotate_after = Some(Duration::from_millis(200)..Duration::from_millis(400));
        Rules { rotate_after, ..Binance {}.rules() }
    }

    fn symbol(&self, pair: Pair) -> String {
        Binance {}.symbol(pair)
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Binance {}.decoder(symbols)
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        Binance {}.subscribe(request, symbols)
    }

    fn keepalive(&self, request: u64) -> Option<String> {
        Binance {}.keepalive(request)
    }
}

async fn exchange() -> Exchange {
    let exchange = Exchange::start_as(&ratebus_test_exchange::Binance).await;
    exchange.list("BTCUSDT", "81413.20", "81413.30");
    exchange
}

#[tokio::test]
async fn a_connection_is_replaced_before_it_is_too_old() {
    let exchange = exchange().await;
    let source = Running::start::<Stream<ShortLived>>(&exchange.url(), &["BTC_USDT"], &json!({}));
    for (attempt, bid) in [(1, "81414.00"), (2, "81415.00"), (3, "81416.00")] {
        exchange.wait_attempts(attempt, DEADLINE).await;
        // Whichever connection is the one now: each tells the price to those that follow it.
        eventually("its price", DEADLINE, || {
            exchange.tick("BTCUSDT", bid, "81420.00");
            source.host.rates().last().is_some_and(|rate| rate.value.bid().to_string() == bid)
        })
        .await;
    }
    source.until_counted(&["ratebus_feed_reconnects_total", "aged"], 2).await;
    source.stop().await;
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_not_taken_for_one_and_has_a_name() {
    let exchange = exchange().await;
    exchange.answer("BTCUSDT", Answer::Refuse("Unknown property".to_owned()));
    let source = Running::start::<Stream<Binance>>(&exchange.url(), &["BTC_USDT"], &json!({}));
    source.until_health("BTC_USDT (not acknowledged yet); refused for now: \"Unknown property\"").await;
    exchange.answer("BTCUSDT", Answer::Acknowledge);
    exchange.wait_subscribed(&["BTCUSDT"], DEADLINE).await;
    exchange.tick("BTCUSDT", "81414.00", "81414.10");
    source.until_ready().await;
    source.stop().await;
}

#[tokio::test]
async fn a_stream_that_was_lost_without_a_word_comes_back() {
    let exchange = exchange().await;
    let source = Running::start::<Stream<Binance>>(&exchange.url(), &["BTC_USDT"], &json!({"stall_after": "5s"}));
    exchange.wait_subscribed(&["BTCUSDT"], DEADLINE).await;
    exchange.tick("BTCUSDT", "81414.00", "81414.10");
    source.until_ready().await;
    exchange.forget("BTCUSDT");
    let forgotten_at = Instant::now();
    exchange.wait_subscribed(&["BTCUSDT"], DEADLINE).await;
    let rates = source.host.rates();
    assert!(rates.iter().all(|rate| rate.confirmed_at <= forgotten_at), "what was lost is not confirmed: {rates:?}");
    exchange.tick("BTCUSDT", "81415.00", "81415.10");
    source.until_bid("BTC_USDT", "81415.00").await;
    assert_eq!(exchange.attempts(), 1);
    source.stop().await;
}

#[tokio::test]
async fn answers_alone_do_not_keep_a_price_fresh_for_ever() {
    let exchange = exchange().await;
    let limits = json!({"stale_after": "1s", "stall_after": "1s", "audit_after": "1s"});
    let source = Running::start::<Stream<Binance>>(&exchange.url(), &["BTC_USDT"], &limits);
    exchange.wait_subscribed(&["BTCUSDT"], DEADLINE).await;
    exchange.tick("BTCUSDT", "81414.00", "81414.10");
    source.until_ready().await;
    // The exchange goes on answering what it is asked, and its market data is lost.
    source.until_status("BTC_USDT", Status::Stale).await;
    exchange.wait_attempts(2, DEADLINE).await;
    eventually("a price of a later connection", DEADLINE, || {
        exchange.tick("BTCUSDT", "81415.00", "81415.10");
        source.rate("BTC_USDT").value.bid().to_string() == "81415.00"
    })
    .await;
    source.stop().await;
}
