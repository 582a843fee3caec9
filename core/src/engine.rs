use std::{
    collections::{BTreeMap, BTreeSet},
    env, io, mem,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use ratebus_bus::{Bus, BusConfig, Outgoing};
use ratebus_link::Link;
use ratebus_model::{PairList, Payload, SourceName, Subject};
use ratebus_sdk::{Context, Env, Error, ErrorKind, Health, HealthState, Retry, Sink, Source};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    config::{self, Blueprint, LinkPlan, RefusedPlugin, RolePlan},
    health::{Part, Readiness},
    host::{PluginHost, Shared, inbox},
    instances::{Instances, Presence},
    listener::Listener,
    mounts::Mounts,
    open_files,
    registry::{BuildError, Component},
    reload::{Changes, ReadPlan, Refused},
    shutdown::{ReloadSignal, StopSignals},
    supervisor::supervise,
    telemetry::Telemetry,
};

/// What the way to other processes is called among the components.
const LINK: &str = "bus";
/// What tells them how this one is.
const PRESENCE: &str = "health";

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

/// Runs a role until a signal asks it to stop. At each SIGHUP the config is read again by `read`, and taken over as a
/// whole or not at all: pairs, sources and everything else without clients of its own.
///
/// Order of a start: every port is bound, then the sinks run, then the sources, then connections are accepted. Order
/// of a stop: readiness turns 503 and for the shutdown delay nothing else happens; the sinks whose clients stay connected
/// send them away; no connection is accepted any more, sources stop, then the other sinks one after another in the role's
/// order, and the requests in flight finish; all of this within the shutdown grace.
///
/// # Errors
/// A port is taken. Nothing was started then.
pub async fn run(plan: RolePlan, read: Arc<ReadPlan>, telemetry: &Telemetry) -> Result<Stopped, StartError> {
    let mut signals = StopSignals::listen()?;
    let mut reload = ReloadSignal::listen()?;
    // Started in another folder, it finds another config or none, and another database.
    let folder = env::current_dir().unwrap_or_default();
    tracing::info!(file = plan.file, folder = %folder.display(), "the config is {}", plan.file);
    open_files::raise_limit();
    let mut engine = Engine::start(plan, telemetry)?;
    let signal = loop {
        tokio::select! {
            signal = signals.received() => break signal,
            () = reload.received() => tokio::select! {
                // Reading may hang: a file on a server that is gone, a library that waits while it is loaded.
                signal = signals.received() => break signal,
                plan = read_plan(read.clone()) => engine.read_again(plan).await,
            },
            () = telemetry.upkeep() => {}
        }
    };
    tracing::info!(signal, "stopping");
    let grace = engine.grace();
    tokio::select! {
        finished = engine.stop() => {
            if finished {
                tracing::info!("stopped");
                return Ok(Stopped::Drained);
            }
            tracing::warn!(?grace, "stopped before everything had finished");
        }
        signal = signals.received() => tracing::warn!(signal, "second signal: stopped at once"),
    }
    Ok(Stopped::CutShort)
}

/// Reads the config again. It reads files, and loads libraries.
async fn read_plan(read: Arc<ReadPlan>) -> Result<RolePlan, Refused> {
    match spawn_blocking(move || read()).await {
        Ok(plan) => plan.map_err(Refused::Wrong),
        Err(panicked) => Err(Refused::Wrong(panicked.into())),
    }
}

struct Engine {
    readiness: Readiness,
    /// Ends accepting, and idle connections.
    listening: CancellationToken,
    connections: TaskTracker,
    shared: Shared,
    /// What was taken over last.
    plan: RolePlan,
    sources: Vec<Plugin>,
    sinks: Vec<Plugin>,
    presence: Running,
    /// Those whose libraries cannot be used.
    missing: Vec<SourceName>,
    link: Option<Running>,
}

struct Plugin {
    /// What it was built with.
    env: Env,
    health: Health,
    running: Running,
}

struct Running {
    name: String,
    cancel: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Engine {
    fn start(mut plan: RolePlan, telemetry: &Telemetry) -> Result<Self, StartError> {
        let readiness = Readiness::default();
        let listening = CancellationToken::new();
        let connections = TaskTracker::new();
        let (bound, listeners) = bind(&plan, &readiness)?;
        let instances = Instances::default();
        let operators = bind_operators(&plan, &readiness, &instances, telemetry)?;
        let id = Uuid::new_v4();
        let bus = Bus::new(BusConfig { slow_subject: slow_subject(id), ..BusConfig::default() });
        let shared = Shared { bus, listeners: Arc::new(bound), readiness: readiness.clone(), sessions: Arc::default() };
        let sinks: Vec<Plugin> = plan.sinks().map(|plugin| Plugin::start(plugin, &shared)).collect();
        let sources: Vec<Plugin> = plan.sources().map(|plugin| Plugin::start(plugin, &shared)).collect();
        let missing = plan.refused.iter().map(|plugin| missing(plugin, &readiness)).collect();
        let link = plan.link.take().map(|link| Running::link(link, &shared));
        let presence = Presence::new(id, &plan.name, &shared.bus, readiness.clone(), instances);
        let presence = Running::presence(presence, &shared.bus);
        // Last: while a plugin's health is not known yet, nobody may be told that the process is ready.
        for listener in listeners.into_iter().chain([operators]) {
            connections.spawn(listener.serve(listening.clone(), connections.clone()));
        }
        let plugins = plan.plugins.len();
        tracing::info!(role = plan.name, plugins, version = env!("CARGO_PKG_VERSION"), "ratebus runs");
        Ok(Self { readiness, listening, connections, shared, plan, sources, sinks, presence, missing, link })
    }

    fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.sources.iter().chain(&self.sinks)
    }

    fn grace(&self) -> Duration {
        self.plan.runtime.shutdown_grace
    }

    /// Takes over the config that was read again, or says why not.
    async fn read_again(&mut self, plan: Result<RolePlan, Refused>) {
        let failed = |failed: bool| metrics::gauge!("ratebus_config_reload_failed").set(u32::from(failed));
        let count = |outcome| metrics::counter!("ratebus_config_reloads_total", "outcome" => outcome).increment(1);
        match self.take_over(plan).await {
            Ok(changes) => {
                let Changes { added, replaced, removed } = &changes;
                tracing::info!(?added, ?replaced, ?removed, "the config was read again and taken over");
                count("taken_over");
                failed(false);
            }
            Err(error) => {
                tracing::error!("the config was read again and refused, everything goes on as before: {error}");
                count("refused");
                failed(true);
            }
        }
    }

    /// Stops what goes, sources first, and starts what comes, sources last.
    async fn take_over(&mut self, plan: Result<RolePlan, Refused>) -> Result<Changes, Refused> {
        let plan = plan?;
        let given_up = self.plugins().filter(|plugin| plugin.is_given_up()).map(|plugin| plugin.env.name).collect();
        // What runs is not given up for a file that may be half copied.
        if let Some(broken) = plan.refused.iter().find(|broken| self.plan.plugin(broken.name).is_some()) {
            return Err(Refused::Wrong(broken.problem.to_string().into()));
        }
        let changes = Changes::between(&self.plan, &plan, &given_up).map_err(Refused::Settled)?;
        for plugin in self.plugins() {
            plugin.env.replace_pairs(plan.pairs.clone());
        }
        for name in mem::take(&mut self.missing) {
            self.readiness.remove(name.as_str());
        }
        self.missing = plan.refused.iter().map(|plugin| missing(plugin, &self.readiness)).collect();
        // Half of the grace for both: a stop may follow, and whoever waits for that waits for this as well.
        let share = self.grace() / 4;
        for plugins in [&mut self.sources, &mut self.sinks] {
            let goes = |plugin: &mut Plugin| !changes.keeps(plugin.env.name);
            let leaving: Vec<Plugin> = plugins.extract_if(.., goes).collect();
            for plugin in &leaving {
                self.readiness.remove(plugin.health.name());
            }
            let gone: Vec<Health> = leaving.iter().map(|plugin| plugin.health.clone()).collect();
            stop_stage(leaving.into_iter().map(|plugin| plugin.running).collect(), share).await;
            for health in gone {
                // So that nothing waits for it in the metrics.
                health.set(HealthState::Finished);
            }
        }
        for &name in &changes.removed {
            self.take_back(name);
        }
        for (plugins, order) in
            [(&mut self.sinks, plan.sinks().collect::<Vec<_>>()), (&mut self.sources, plan.sources().collect())]
        {
            let mut kept: BTreeMap<SourceName, Plugin> =
                mem::take(plugins).into_iter().map(|plugin| (plugin.env.name, plugin)).collect();
            let start = |plugin: &Blueprint| {
                kept.remove(&plugin.env.name).unwrap_or_else(|| Plugin::start(plugin, &self.shared))
            };
            *plugins = order.into_iter().map(start).collect();
        }
        self.plan = RolePlan { link: None, ..plan };
        Ok(changes)
    }

    /// What a plugin has said goes with it. Of a source it stays known that it lists no pairs: who has missed the end of one
    /// forgets it when its price is dead.
    fn take_back(&self, name: SourceName) {
        let (bus, list) = (&self.shared.bus, Subject::pairs(name));
        let publisher = bus.publisher(name.as_str());
        let Ok(all) = ">".parse() else { return };
        for subject in bus.last_said_by(name.as_str(), &all) {
            let end = if subject == list { PairList { source: name, pairs: Vec::new() }.into() } else { Payload::Gone };
            // A bus that takes nothing more is about to end.
            let _ = publisher.try_publish(Outgoing::new(subject, end));
        }
    }

    /// Whether everything finished within the grace. A stage that hangs takes neither the time of those after it nor
    /// their goodbye to their clients: who sends clients away has half of what is left, the others equal shares.
    async fn stop(self) -> bool {
        self.readiness.stop();
        // Whoever sends people here looks elsewhere from now on, and may need a while to see that.
        sleep(self.plan.runtime.shutdown_delay).await;
        let deadline = Instant::now() + self.grace();
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut finished = true;
        let (keeping, sinks): (Vec<_>, Vec<_>) =
            self.sinks.into_iter().partition(|plugin| plugin.env.is_keeping_clients());
        for plugin in keeping {
            finished &= stop_stage(vec![plugin.running], left() / 2).await;
        }
        self.listening.cancel();
        let sources = self.sources.into_iter().map(|plugin| plugin.running);
        let mut stages: Vec<Vec<Running>> = vec![sources.chain([self.presence]).collect()];
        stages.extend(sinks.into_iter().map(|plugin| vec![plugin.running]));
        // Stops last: what the others still say goes out, and then its goodbyes.
        stages.extend(self.link.map(|link| vec![link]));
        let mut shares = u32::try_from(stages.len()).unwrap_or(u32::MAX).saturating_add(1);
        for stage in stages {
            let share = left() / shares;
            shares -= 1;
            finished &= stop_stage(stage, share).await;
        }
        self.connections.close();
        finished & timeout_at(deadline, self.connections.wait()).await.is_ok()
    }
}

async fn stop_stage(stage: Vec<Running>, share: Duration) -> bool {
    let deadline = Instant::now() + share;
    for plugin in &stage {
        plugin.cancel.cancel();
    }
    let mut finished = true;
    for Running { name, mut supervisor, .. } in stage {
        match timeout_at(deadline, &mut supervisor).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!(plugin = %name, "the supervisor of a plugin panicked"),
            Err(_) => {
                tracing::warn!(plugin = %name, waited = ?share, "a plugin does not stop");
                supervisor.abort();
                finished = false;
            }
        }
    }
    finished
}

impl Plugin {
    fn start(plugin: &Blueprint, shared: &Shared) -> Self {
        let (plugin, shared) = (plugin.clone(), shared.clone());
        let env = plugin.env.clone();
        let name = env.name;
        if let Some(dynamic) = plugin.entry.dynamic() {
            dynamic.tell(name);
        }
        let health = Health::new(name.as_str());
        let part = if plugin.entry.is_source { Part::Source } else { Part::Needed };
        shared.readiness.add(health.clone(), part);
        let cancel = CancellationToken::new();
        let (stop, its_health) = (cancel.clone(), health.clone());
        let supervised = supervise(health.clone(), cancel.clone(), move || {
            let host = PluginHost::new(name, shared.clone());
            let ctx = Context::new(name, host.epoch(), Arc::new(host), its_health.clone(), stop.clone());
            run_component(plugin.clone(), shared.bus.clone(), ctx)
        });
        let running = Running { name: name.to_string(), cancel, supervisor: tokio::spawn(supervised) };
        Self { env, health, running }
    }

    /// Whether it failed too often to be started again by itself.
    fn is_given_up(&self) -> bool {
        matches!(self.health.state(), HealthState::Failed(_))
    }
}

impl Running {
    /// The way to other processes, which needs no supervisor: it connects again by itself.
    fn link(plan: LinkPlan, shared: &Shared) -> Self {
        let LinkPlan { warning, target, keys, exports, imports } = plan;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let health = Health::new(LINK);
        shared.readiness.add(health.clone(), Part::Needed);
        let link = Link::new(shared.bus.clone(), target, keys, exports, imports, health);
        let cancel = CancellationToken::new();
        let supervisor = tokio::spawn(link.run(cancel.clone()));
        Self { name: LINK.to_owned(), cancel, supervisor }
    }
}

impl Running {
    /// What says how this process is, and hears the others.
    fn presence(presence: Presence, bus: &Bus) -> Self {
        let cancel = CancellationToken::new();
        let supervisor = tokio::spawn(presence.run(Presence::inbox(bus), cancel.clone()));
        Self { name: PRESENCE.to_owned(), cancel, supervisor }
    }
}

async fn run_component(plugin: Blueprint, bus: Bus, ctx: Context) -> Result<(), Error> {
    // It may read files, or wait for a library.
    let built = spawn_blocking(move || plugin.build());
    match built.await.map_err(|error| Error::new(ErrorKind::Internal, "it was not built").because(error))? {
        Ok(Component::Source(source)) => Source::run(source, ctx).await,
        Ok(Component::Sink(sink)) => {
            let inbox = inbox(&bus, ctx.name().as_str(), sink.interests());
            Sink::run(sink, inbox, ctx).await
        }
        // It was accepted at the start: a file that it names has changed, and may be mended.
        Err(BuildError::Config(error)) => {
            let refused = Error::new(ErrorKind::Config, "its config is no longer accepted").because(error);
            Err(refused.with_retry(Retry::Backoff))
        }
        Err(BuildError::Refused(refusal)) => {
            let refused = Error::new(ErrorKind::Internal, "its library is refused").because(refusal);
            Err(refused.with_retry(Retry::Never))
        }
    }
}

/// Shows that a plugin is missing whose library cannot be used.
fn missing(plugin: &RefusedPlugin, readiness: &Readiness) -> SourceName {
    let RefusedPlugin { name, reason, problem } = plugin;
    tracing::error!(event = "library_refused", plugin = %name, reason, "{problem}; everything else goes on");
    metrics::counter!("ratebus_libraries_refused_total", "plugin" => name.to_string(), "reason" => *reason)
        .increment(1);
    let health = Health::new(name.as_str());
    health.set(HealthState::Failed(problem.message.clone()));
    readiness.add(health, Part::Needed);
    *name
}

/// `$SYS.slow.<instance>`: where subscriptions that lose messages are reported.
fn slow_subject(id: Uuid) -> Option<Subject> {
    format!("$SYS.slow.{}", id.simple()).parse().ok()
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
        let listener = bind_one(name, settings.clone(), mounts.clone())?;
        all.insert(name.clone(), Bound { mounts, address: listener.address() });
        listeners.push(listener);
    }
    Ok((all, listeners))
}

fn bind_one(name: &str, settings: config::Listener, mounts: Arc<Mounts>) -> Result<Listener, StartError> {
    let address = settings.listen;
    let fault = |error| StartError::Bind { listener: name.to_owned(), address, error };
    let listener = Listener::bind(name, settings, mounts).map_err(fault)?;
    let bound = listener.address();
    tracing::info!(listener = name, address = %bound, "listening on http://{bound}");
    Ok(listener)
}

/// The operator's listener: metrics, and health with its reasons.
fn bind_operators(
    plan: &RolePlan,
    readiness: &Readiness,
    instances: &Instances,
    telemetry: &Telemetry,
) -> Result<Listener, StartError> {
    /// More than enough for scrapers and people.
    const CONNECTIONS: usize = 64;
    let (metrics, health, instances) = (telemetry.metrics(), readiness.clone(), instances.clone());
    let router = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/health", get(move || async move { health.detail(&instances) }));
    let mounts = Mounts::fixed("metrics", router, readiness.clone());
    bind_one("metrics", config::Listener::plain(plan.metrics.listen, CONNECTIONS), mounts)
}
