//! Both plugins against a real Redis: what others read there, and what becomes of what others write.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod config;
mod conformance;
mod feed;
mod publisher;

use std::time::Duration;

use futures_util::StreamExt;
use ratebus_conformance::{AsSink, AsSource, Running};
use ratebus_model::{FoldLimits, Limits, Message, Pair, Payload, Subject, Tick};
use ratebus_redis::{RedisFeed, RedisPublisher};
use ratebus_sdk::{
    Clock, Factory,
    feed::RateBook,
    testkit::{RecordingHost, env, eventually},
};
use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use redis::aio::PubSub;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Long enough for any wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// For rates that become stale and dead while the test waits, and not before they are seen.
const SHORT: Limits = Limits { stale_after: Duration::from_secs(1), dead_after: Duration::from_secs(2) };

fn start(options: BrokerOptions) -> Broker {
    Broker::start(BrokerKind::Redis, options)
}

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

/// A publisher at `url`, with `more` in its config.
fn start_publisher(url: &str, more: &Value) -> Running {
    let config = with(json!({"url": url}), more);
    Running::of::<AsSink<RedisPublisher>>(config, &env("publisher", &[]), &RecordingHost::new())
}

/// A source of BTC and ETH from `rates:latest` at `url`, with `more` in its config.
fn start_feed(url: &str, more: &Value) -> Running {
    let config = with(json!({"url": url, "channel": "rates:latest", "pairs": ["BTC_USD", "ETH_USD"]}), more);
    Running::of::<AsSource<RedisFeed>>(config, &env("feed", &[]), &RecordingHost::new())
}

/// The rates of a source `kraken` in the same process.
fn book(plugin: &Running, limits: Limits) -> RateBook {
    RateBook::new(plugin.host.context("kraken"), &[pair("BTC_USD"), pair("ETH_USD")], FoldLimits::new(limits))
}

fn with(mut config: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// A tick of both sides.
fn tick(book: &mut RateBook, pair: &str, bid: &str, ask: &str) {
    let pair = self::pair(pair);
    let (bid, ask) = (Some(bid), Some(ask));
    let tick = Tick { pair, bid, ask, reference: None, event_time: Some(Clock.wall()), snapshot: false };
    book.tick(&tick, Clock.arrival());
}

/// Somebody who listens to channels of Redis.
struct Listener(PubSub);

impl Listener {
    async fn to(broker: &Broker, pattern: &str) -> Self {
        let mut pubsub = redis::Client::open(broker.url()).unwrap().get_async_pubsub().await.unwrap();
        pubsub.psubscribe(pattern).await.unwrap();
        Self(pubsub)
    }

    /// The next document, and its channel.
    async fn next(&mut self) -> (String, Value) {
        let message = timeout(DEADLINE, self.0.on_message().next()).await.unwrap().unwrap();
        let document = serde_json::from_slice(message.get_payload_bytes()).unwrap();
        (message.get_channel_name().to_owned(), document)
    }
}
