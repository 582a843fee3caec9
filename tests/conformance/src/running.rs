use std::sync::Arc;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ratebus_model::{Message, Pair, Payload, Rate, Status};
use ratebus_sdk::{
    Context, Env, Error, Factory, HealthState, Source,
    testkit::{RecordingHost, env, eventually},
};
use ratebus_test_exchange::DEADLINE;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use crate::{AsSource, Component};

/// A plugin at work, with its own metrics. The test's runtime has one thread, so that the recorder is its own too.
pub struct Running {
    /// The bus it publishes to.
    pub host: Arc<RecordingHost>,
    /// Its context.
    pub ctx: Context,
    /// It at work.
    pub task: JoinHandle<Result<(), Error>>,
    metrics: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Running {
    pub(crate) const NAME: &str = "under-test";

    /// A source of these pairs connected to `url`, with `more` in its config.
    pub fn start<S: Factory + Source + 'static>(url: &str, pairs: &[&str], more: &Value) -> Self {
        let mut config = json!({"endpoint": url, "pairs": pairs, "stall_after": "400ms"});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        Self::with::<S>(config)
    }

    /// A source of this config.
    pub fn with<S: Factory + Source + 'static>(config: Value) -> Self {
        Self::of::<AsSource<S>>(config, &env(Self::NAME, &[]), &RecordingHost::new())
    }

    /// A plugin of this config, on this host.
    pub fn of<C: Component>(config: Value, env: &Env, host: &Arc<RecordingHost>) -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let metrics = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let plugin = C::Plugin::build(serde_json::from_value(config).unwrap(), env).unwrap();
        let ctx = host.context(env.name.as_str());
        let inbox = host.inbox(&C::interests(&plugin));
        let task = tokio::spawn(C::run(plugin, inbox, ctx.clone()));
        Self { host: Arc::clone(host), ctx, task, metrics, _recorder: guard }
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self) {
        eventually("the source is ready", DEADLINE, || self.ctx.health().state() == HealthState::Ready).await;
    }

    /// Waits for a health with these words.
    pub async fn until_health(&self, what: &str) {
        let said = || self.ctx.health().state().reason().is_some_and(|reason| reason.contains(what));
        eventually(&format!("health with {what:?}"), DEADLINE, said).await;
    }

    /// Waits for a rate of `pair` with this bid, of those to come and those that were.
    pub async fn until_bid(&self, pair: &str, bid: &str) -> Arc<Rate> {
        let wanted = |message: &Message| match &message.payload {
            Payload::Rate(rate) => rate.pair == self::pair(pair) && rate.value.bid().to_string() == bid,
            _ => false,
        };
        match &self.host.wait_for(wanted, DEADLINE).await.payload {
            Payload::Rate(rate) => Arc::clone(rate),
            other => panic!("{other:?}"),
        }
    }

    /// The last rate of a pair.
    pub fn rate(&self, pair: &str) -> Arc<Rate> {
        self.host.rate(self.ctx.name().as_str(), self::pair(pair)).unwrap()
    }

    /// Its status now.
    pub fn status(&self, pair: &str) -> Status {
        self.rate(pair).status(self.ctx.clock().now())
    }

    /// Waits for a status of a pair.
    pub async fn until_status(&self, pair: &str, status: Status) {
        eventually(&format!("{pair} is {status:?}"), DEADLINE, || self.status(pair) == status).await;
    }

    /// Whether a sample with these words in its name and labels has at least this value.
    pub fn counted(&self, words: &[&str], least: u64) -> bool {
        let rendered = self.metrics.render();
        let sample =
            rendered.lines().find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)));
        sample.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).is_some_and(|value| value >= least)
    }

    /// Waits until that is so.
    pub async fn until_counted(&self, words: &[&str], least: u64) {
        eventually(&format!("{words:?} at {least}"), DEADLINE, || self.counted(words, least)).await;
    }

    /// Stops it, which takes no time. In all that it ever published as a source each pair has one epoch and never steps
    /// back, and no side is crossed.
    pub async fn stop(self) {
        self.ctx.cancel_token().cancel();
        timeout(DEADLINE, self.task).await.expect("it stops").unwrap().unwrap();
        let mut last: Vec<Arc<Rate>> = Vec::new();
        for rate in self.host.rates().into_iter().filter(|rate| rate.source == self.ctx.name()) {
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

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}
