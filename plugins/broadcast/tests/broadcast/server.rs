use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, serve::ListenerExt};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ratebus_broadcast::Broadcast;
use ratebus_model::{PairList, Payload, Quote, Subject};
use ratebus_sdk::{
    Context, Error, Factory, HealthState, Origins, Sink,
    testkit::{self, RecordingHost},
};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::logins::Logins;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Small, so that a client that reads nothing is felt after a few messages.
pub(crate) const SOCKET_BUFFER: usize = 8 * 1024;
/// The TCP user timeout of the engine's listeners.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The plugin on a listener of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    host: Arc<RecordingHost>,
    context: Context,
    running: JoinHandle<Result<(), Error>>,
    metrics: PrometheusHandle,
    /// Who is logged in.
    pub(crate) logins: Arc<Logins>,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Server {
    /// With the default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(json!({}), []).await
    }

    /// With settings of its own, and with what was published before it started.
    pub(crate) async fn start_with(settings: Value, before: impl IntoIterator<Item = Quote>) -> Self {
        Self::start_on(USER_TIMEOUT, settings, before).await
    }

    /// On a listener with these `origins`.
    pub(crate) async fn start_for(origins: &Value, settings: Value) -> Self {
        let mut server = Self::start_with(settings, []).await;
        let origins: Origins = serde_json::from_value(origins.clone()).unwrap();
        server.address = serve(&server.host, USER_TIMEOUT, origins).await;
        server
    }

    /// On a listener with another TCP user timeout.
    pub(crate) async fn start_on(
        user_timeout: Duration,
        settings: Value,
        before: impl IntoIterator<Item = Quote>,
    ) -> Self {
        // The metrics of this test alone: a test and its server share one thread.
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let guard = metrics::set_default_local_recorder(recorder);

        let mut config = json!({ "listener": "web" });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config = serde_json::from_value(config).unwrap();
        let plugin = Broadcast::build(config, &testkit::env("broadcast", &["web"])).unwrap();

        let host = RecordingHost::new();
        let context = host.context("broadcast");
        for quote in before {
            context.try_publish(&Subject::quote(quote.pair), quote).unwrap();
        }
        let logins = Arc::new(Logins::default());
        context.offer_sessions(logins.clone());
        let inbox = host.inbox(&plugin.interests());
        let running = tokio::spawn(Box::new(plugin).run(inbox, context.clone()));
        testkit::eventually("the plugin is ready", DEADLINE, || context.health().state() == HealthState::Ready).await;
        let address = serve(&host, user_timeout, Origins::default()).await;
        Self { address, host, context, running, metrics: recorder.handle(), logins, _recorder: guard }
    }

    pub(crate) fn publish(&self, quote: Quote) {
        self.context.try_publish(&Subject::quote(quote.pair), quote).unwrap();
    }

    /// Nothing prices the pair any more.
    pub(crate) fn end(&self, pair: &str) {
        self.context.try_publish(&Subject::quote(pair.parse().unwrap()), Payload::Gone).unwrap();
    }

    pub(crate) fn serve_pairs(&self, list: PairList) {
        self.context.try_publish(&Subject::pairs(list.source), list).unwrap();
    }

    /// A metric's value, by its line in the exposition format; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let rendered = self.metrics.render();
        let value = rendered.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) async fn wait_for_metric(&self, name: &str, value: u64) {
        testkit::eventually(&format!("{name} is {value}"), DEADLINE, || self.metric(name) == value).await;
    }

    /// Asks the plugin to stop, without waiting.
    pub(crate) fn cancel(&self) {
        self.context.cancel_token().cancel();
    }

    /// Ends the plugin in the middle of things, as a panic would.
    pub(crate) fn break_off(&self) {
        self.running.abort();
    }

    /// Waits until the plugin has stopped.
    pub(crate) async fn stopped(&mut self) {
        tokio::time::timeout(DEADLINE, &mut self.running).await.unwrap().unwrap().unwrap();
    }
}

async fn serve(host: &Arc<RecordingHost>, user_timeout: Duration, origins: Origins) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(move |stream| {
        let socket = SockRef::from(&*stream);
        socket.set_tcp_nodelay(true).unwrap();
        socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
        socket.set_tcp_user_timeout(Some(user_timeout)).unwrap();
    });
    let router =
        host.router("web").unwrap().layer(Extension(origins)).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
