//! Both plugins against a real Redis: what others read there, and what becomes of what others write.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod config;
mod conformance;
mod feed;
mod publisher;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ratebus_model::{FoldLimits, Limits, Message, Pair, Payload, Rate, Subject, Tick};
use ratebus_redis::{RedisFeed, RedisPublisher};
use ratebus_sdk::{
    Clock, Context, Error, Factory, HealthState, Sink, Source,
    feed::RateBook,
    testkit::{RecordingHost, env, eventually},
};
use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use redis::aio::PubSub;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

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

/// A plugin at work, with its own metrics. The test's runtime has one thread, so that the recorder is its own too.
struct Running {
    host: Arc<RecordingHost>,
    ctx: Context,
    task: JoinHandle<Result<(), Error>>,
    metrics: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Running {
    /// A publisher at `url`, with `more` in its config.
    fn publisher(url: &str, more: &Value) -> Self {
        Self::start("publisher", |host, ctx| {
            let config = serde_json::from_value(with(json!({"url": url}), more)).unwrap();
            let sink = Box::new(RedisPublisher::build(config, &env("publisher", &[])).unwrap());
            let inbox = host.inbox(&sink.interests());
            tokio::spawn(sink.run(inbox, ctx))
        })
    }

    /// A source of BTC and ETH from `rates:latest` at `url`, with `more` in its config.
    fn feed(url: &str, more: &Value) -> Self {
        Self::start("feed", |_, ctx| {
            let usual = json!({"url": url, "channel": "rates:latest", "pairs": ["BTC_USD", "ETH_USD"]});
            let config = serde_json::from_value(with(usual, more)).unwrap();
            tokio::spawn(Box::new(RedisFeed::build(config, &env("feed", &[])).unwrap()).run(ctx))
        })
    }

    fn start(name: &str, run: impl FnOnce(&Arc<RecordingHost>, Context) -> JoinHandle<Result<(), Error>>) -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let metrics = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let host = RecordingHost::new();
        let ctx = host.context(name);
        let task = run(&host, ctx.clone());
        Self { host, ctx, task, metrics, _recorder: guard }
    }

    /// The rates of a source `kraken` in the same process.
    fn book(&self, limits: Limits) -> RateBook {
        RateBook::new(self.host.context("kraken"), &[pair("BTC_USD"), pair("ETH_USD")], FoldLimits::new(limits))
    }

    async fn until(&self, what: &str, holds: impl Fn(&HealthState) -> bool) {
        eventually(what, DEADLINE, || holds(&self.ctx.health().state())).await;
    }

    async fn until_ready(&self) {
        self.until("it is ready", |state| *state == HealthState::Ready).await;
    }

    async fn until_said(&self, words: &str) {
        let said = |state: &HealthState| state.reason().is_some_and(|reason| reason.contains(words));
        self.until(&format!("its health says {words:?}"), said).await;
    }

    /// Waits for a sample with these words in its name and labels that has at least this value.
    async fn until_counted(&self, words: &[&str], least: u64) {
        let counted = || {
            let rendered = self.metrics.render();
            let sample =
                rendered.lines().find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)));
            sample.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).is_some_and(|value| value >= least)
        };
        eventually(&format!("{words:?} at {least}"), DEADLINE, counted).await;
    }

    /// Waits for a rate of the feed with this bid.
    async fn until_bid(&self, bid: &str) -> Arc<Rate> {
        let wanted = |message: &Message| match &message.payload {
            Payload::Rate(rate) => rate.value.bid().to_string() == bid,
            _ => false,
        };
        match &self.host.wait_for(wanted, DEADLINE).await.payload {
            Payload::Rate(rate) => Arc::clone(rate),
            other => panic!("{other:?}"),
        }
    }

    fn publish(&self, subject: &Subject, payload: impl Into<Payload>) {
        self.ctx.try_publish(subject, payload).unwrap();
    }

    async fn stop(self) {
        self.ctx.cancel_token().cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
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
