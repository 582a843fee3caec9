use std::{
    collections::{BTreeMap, BTreeSet},
    env, io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use ratebus_bus::{Bus, BusConfig};
use ratebus_model::{SourceName, Subject};
use ratebus_sdk::{Context, Error, ErrorKind, Health, Sink, Source};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    config::{Blueprint, RolePlan},
    health::Readiness,
    host::{PluginHost, Shared, inbox},
    listener::Listener,
    mounts::Mounts,
    registry::Component,
    shutdown::StopSignals,
    supervisor::supervise,
    telemetry::Telemetry,
};

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address could not be bound.
    #[error("listener {listener:?} cannot listen on {address}: {error}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Where it should listen.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The operating system refused something else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything in flight was finished.
    Drained,
    /// The shutdown grace ran out first, or a second signal came.
    CutShort,
}

/// Runs a role until a signal asks it to stop.
///
/// Order of a start: every port is bound, then the sinks run, then the sources, then connections are accepted. Order
/// of a stop: readiness turns 503, no connection is accepted any more, sources stop, then the sinks one after another
/// in the role's order, and the requests in flight finish; all within the shutdown grace.
///
/// # Errors
/// A port is taken. Nothing was started then.
pub async fn run(plan: RolePlan, telemetry: &Telemetry) -> Result<Stopped, StartError> {
    let mut signals = StopSignals::listen()?;
    // Started in another folder, it finds another config or none, and another database.
    let folder = env::current_dir().unwrap_or_default();
    tracing::info!(file = plan.file, folder = %folder.display(), "the config is {}", plan.file);
    let engine = Engine::start(plan, telemetry)?;
    tokio::select! {
        signal = signals.received() => tracing::info!(signal, "stopping"),
        () = telemetry.upkeep() => {}
    }
    let grace = engine.grace;
    tokio::select! {
        drained = timeout(grace, engine.stop()) => {
            if drained.is_ok() {
                tracing::info!("stopped");
                return Ok(Stopped::Drained);
            }
            tracing::warn!(?grace, "the shutdown grace ran out before everything had finished");
        }
        signal = signals.received() => tracing::warn!(signal, "second signal: stopped at once"),
    }
    Ok(Stopped::CutShort)
}

struct Engine {
    readiness: Readiness,
    /// Ends accepting, and idle connections.
    listening: CancellationToken,
    connections: TaskTracker,
    /// In the order in which they stop.
    plugins: Vec<Running>,
    grace: Duration,
}

struct Running {
    name: SourceName,
    cancel: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Engine {
    fn start(plan: RolePlan, telemetry: &Telemetry) -> Result<Self, StartError> {
        let readiness = Readiness::default();
        let listening = CancellationToken::new();
        let connections = TaskTracker::new();
        let (bound, listeners) = bind(&plan, &readiness)?;
        let operators = bind_operators(&plan, &readiness, telemetry)?;
        let bus = Bus::new(BusConfig { slow_subject: slow_subject(), ..BusConfig::default() });
        let shared = Shared { bus, listeners: Arc::new(bound), readiness: readiness.clone() };
        let (sources, sinks): (Vec<_>, Vec<_>) = plan.plugins.into_iter().partition(is_source);
        let start = |plugin| Running::start(plugin, shared.clone());
        let sinks: Vec<Running> = sinks.into_iter().map(start).collect();
        let mut plugins: Vec<Running> = sources.into_iter().map(start).collect();
        plugins.extend(sinks);
        // Last: while a plugin's health is not known yet, nobody may be told that the process is ready.
        for listener in listeners.into_iter().chain([operators]) {
            connections.spawn(listener.serve(listening.clone(), connections.clone()));
        }
        tracing::info!(role = plan.name, plugins = plugins.len(), version = env!("CARGO_PKG_VERSION"), "ratebus runs");
        Ok(Self { readiness, listening, connections, plugins, grace: plan.runtime.shutdown_grace })
    }

    async fn stop(self) {
        self.readiness.stop();
        self.listening.cancel();
        for plugin in self.plugins {
            plugin.cancel.cancel();
            if plugin.supervisor.await.is_err() {
                tracing::error!(plugin = %plugin.name, "the supervisor of a plugin panicked");
            }
        }
        self.connections.close();
        self.connections.wait().await;
    }
}

impl Running {
    fn start(plugin: Blueprint, shared: Shared) -> Self {
        let name = plugin.env.name;
        let health = Health::new(name.as_str());
        shared.readiness.add(health.clone());
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let supervised = supervise(health.clone(), cancel.clone(), move || {
            let host = PluginHost::new(name, shared.clone());
            let ctx = Context::new(name, host.epoch(), Arc::new(host), health.clone(), stop.clone());
            run_component(plugin.clone(), shared.bus.clone(), ctx)
        });
        Self { name, cancel, supervisor: tokio::spawn(supervised) }
    }
}

async fn run_component(plugin: Blueprint, bus: Bus, ctx: Context) -> Result<(), Error> {
    match plugin.build() {
        Ok(Component::Source(source)) => Source::run(source, ctx).await,
        Ok(Component::Sink(sink)) => {
            let inbox = inbox(&bus, ctx.name(), sink.interests());
            Sink::run(sink, inbox, ctx).await
        }
        Err(error) => Err(Error::new(ErrorKind::Config, "its config is no longer accepted").because(error)),
    }
}

/// `$SYS.slow.<instance>`: where subscriptions that lose messages are reported.
fn slow_subject() -> Option<Subject> {
    format!("$SYS.slow.{}", Uuid::new_v4().simple()).parse().ok()
}

fn is_source(plugin: &Blueprint) -> bool {
    plugin.entry.name.starts_with("source/")
}

/// A listener as plugins know it: what they mounted, and where it listens.
pub(crate) struct Bound {
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) address: SocketAddr,
}

type Listeners = (BTreeMap<String, Bound>, Vec<Listener>);

fn bind(plan: &RolePlan, readiness: &Readiness) -> Result<Listeners, StartError> {
    let (mut all, mut listeners) = (BTreeMap::new(), Vec::new());
    for (name, settings) in &plan.listeners {
        let claims = |plugin: &&Blueprint| plugin.env.claimed_listeners().contains(name);
        let awaited: BTreeSet<SourceName> = plan.plugins.iter().filter(claims).map(|plugin| plugin.env.name).collect();
        let mounts = Mounts::new(name, awaited, readiness.clone());
        let listener = bind_one(name, settings.listen, settings.max_connections, mounts.clone())?;
        let address = listener.address()?;
        all.insert(name.clone(), Bound { mounts, address });
        listeners.push(listener);
    }
    Ok((all, listeners))
}

fn bind_one(name: &str, address: SocketAddr, max: usize, mounts: Arc<Mounts>) -> Result<Listener, StartError> {
    let fault = |error| StartError::Bind { listener: name.to_owned(), address, error };
    let listener = Listener::bind(name, address, max, mounts).map_err(fault)?;
    let bound = listener.address().map_err(fault)?;
    tracing::info!(listener = name, address = %bound, "listening on http://{bound}");
    Ok(listener)
}

/// The operator's listener: metrics, and health with its reasons.
fn bind_operators(plan: &RolePlan, readiness: &Readiness, telemetry: &Telemetry) -> Result<Listener, StartError> {
    /// More than enough for scrapers and people.
    const CONNECTIONS: usize = 64;
    let (metrics, health) = (telemetry.metrics(), readiness.clone());
    let router = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/health", get(move || async move { health.detail() }));
    let mounts = Mounts::fixed("metrics", router, readiness.clone());
    bind_one("metrics", plan.metrics.listen, CONNECTIONS, mounts)
}
