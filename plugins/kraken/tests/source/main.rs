//! The source against a scripted exchange, over real sockets: what exchanges do at their worst, and what must hold.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

mod connection;
mod subscription;
mod values;

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ratebus_model::{Message, Pair, Payload, Rate, Status};
use ratebus_sdk::{
    Context, Error, Factory, HealthState, Source,
    stream::Stream,
    testkit::{RecordingHost, env, eventually},
};
use ratebus_test_exchange::{DEADLINE, Exchange};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

type Kraken = Stream<ratebus_kraken::Kraken>;

/// Short enough for tests, long against the heartbeats of the scripted exchange.
const STALL: Duration = Duration::from_millis(400);
const BEAT: Duration = Duration::from_millis(50);

/// A source at work, with its own metrics. The test's runtime has one thread, so that the recorder is its own too.
struct Running {
    host: Arc<RecordingHost>,
    ctx: Context,
    task: JoinHandle<Result<(), Error>>,
    metrics: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Running {
    /// A source of these pairs connected to `url`, with `more` in its config.
    fn start(url: &str, pairs: &[&str], more: &Value) -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let metrics = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let mut config = json!({"endpoint": url, "pairs": pairs, "stall_after": "400ms"});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let config = serde_json::from_value(config).unwrap();
        let kraken = Box::new(Kraken::build(config, &env("kraken", &[])).unwrap());
        let host = RecordingHost::new();
        let ctx = host.context("kraken");
        let task = tokio::spawn(kraken.run(ctx.clone()));
        Self { host, ctx, task, metrics, _recorder: guard }
    }

    /// An exchange that lists BTC and ETH, and a source that has both.
    async fn with_exchange(more: &Value) -> (Exchange, Self) {
        let exchange = exchange().await;
        let source = Self::start(&exchange.url(), &["BTC_USD", "ETH_USD"], more);
        source.until_ready().await;
        (exchange, source)
    }

    async fn until_ready(&self) {
        eventually("the source is ready", DEADLINE, || self.ctx.health().state() == HealthState::Ready).await;
    }

    async fn until_health(&self, what: &str) {
        let said = || self.ctx.health().state().reason().is_some_and(|reason| reason.contains(what));
        eventually(&format!("health with {what:?}"), DEADLINE, said).await;
    }

    /// Waits for a rate of `pair` with this bid, of those to come and those that were.
    async fn until_bid(&self, pair: &str, bid: &str) -> Arc<Rate> {
        let wanted = |message: &Message| match &message.payload {
            Payload::Rate(rate) => rate.pair == self::pair(pair) && rate.value.bid().to_string() == bid,
            _ => false,
        };
        match &self.host.wait_for(wanted, DEADLINE).await.payload {
            Payload::Rate(rate) => Arc::clone(rate),
            other => panic!("{other:?}"),
        }
    }

    fn rate(&self, pair: &str) -> Arc<Rate> {
        self.host.rate("kraken", self::pair(pair)).unwrap()
    }

    fn status(&self, pair: &str) -> Status {
        self.rate(pair).status(self.ctx.clock().now())
    }

    async fn until_status(&self, pair: &str, status: Status) {
        eventually(&format!("{pair} is {status:?}"), DEADLINE, || self.status(pair) == status).await;
    }

    /// Whether a sample with these words in its name and labels has at least this value.
    fn counted(&self, words: &[&str], least: u64) -> bool {
        let rendered = self.metrics.render();
        let sample =
            rendered.lines().find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)));
        sample.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).is_some_and(|value| value >= least)
    }

    async fn until_counted(&self, words: &[&str], least: u64) {
        eventually(&format!("{words:?} at {least}"), DEADLINE, || self.counted(words, least)).await;
    }

    /// Stops the source. In all it ever published each pair has one epoch and never steps back, and no side is crossed.
    async fn stop(self) {
        self.ctx.cancel_token().cancel();
        self.task.await.unwrap().unwrap();
        let mut last: Vec<Arc<Rate>> = Vec::new();
        for rate in self.host.rates() {
            assert!(rate.value.bid() <= rate.value.ask());
            match last.iter_mut().find(|before| before.pair == rate.pair) {
                Some(before) => {
                    assert_eq!(before.version.epoch, rate.version.epoch);
                    assert!(
                        rate.version == before.version || rate.version.is_after(before.version),
                        "{before:?} {rate:?}"
                    );
                    *before = rate;
                }
                None => last.push(rate),
            }
        }
    }
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
