use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ratebus_test_exchange::Exchange;
use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use tokio::{task::JoinHandle, time::interval};

use super::{
    Admin, Follower, Launch, Ratebus,
    follower::{BASES, decimal, prices},
    silence,
};

/// How often the exchanges tick.
const TICK: Duration = Duration::from_millis(100);

/// How a cluster is to be.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) kind: BrokerKind,
    pub(crate) options: BrokerOptions,
    /// How long a price stays fresh, and how long it is shown.
    pub(crate) limits: [Duration; 2],
    /// The keys that all processes sign with.
    pub(crate) keys_file: Option<&'a Path>,
}

/// Two `exchange-rate` and two `user-api` processes on one broker and one database, and two clients of each `user-api`.
pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) apis: Vec<Ratebus>,
    /// Two of each `user-api`, in its order.
    pub(crate) followers: Vec<Follower>,
    /// By the number of their exchange.
    publishers: BTreeMap<u64, Ratebus>,
    exchanges: Arc<BTreeMap<u64, Exchange>>,
    launch: Launch,
    ticking: JoinHandle<()>,
}

impl Plan<'_> {
    /// The limits that are usual.
    pub(crate) fn new(kind: BrokerKind) -> Self {
        let limits = [Duration::from_secs(10), Duration::from_mins(1)];
        Self { kind, options: BrokerOptions::default(), limits, keys_file: None }
    }
}

impl Cluster {
    /// Starts everything, and waits until all clients have prices.
    pub(crate) async fn start(plan: Plan<'_>) -> Self {
        let broker = Broker::start(plan.kind, plan.options);
        let backend = if plan.kind == BrokerKind::Redis { "redis" } else { "nats" };
        let [stale_after, dead_after] = plan.limits;
        let pairs = BASES.map(|(pair, _)| pair);
        let mut launch = Launch::new()
            .set(&format!("bus.backend={backend}"))
            .set(&format!("plugin.kraken.config.pairs={pairs:?}"))
            .set(&format!("plugin.kraken.config.stale_after={}ms", stale_after.as_millis()))
            .set(&format!("plugin.kraken.config.stall_after={}ms", stale_after.as_millis() / 2))
            .set(&format!("plugin.kraken.config.dead_after={}ms", dead_after.as_millis()))
            .variable("RATEBUS_BUS__URL", &broker.url_of_user());
        if let Some(password) = plan.options.password {
            let file = launch.folder().join("bus.password");
            fs::write(&file, password).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            launch = launch.set(&format!("bus.password_file={}", file.display()));
        }
        if let Some(file) = plan.keys_file {
            launch = launch.set(&format!("bus.keys_file={}", file.display()));
        }
        if plan.options.tls {
            launch = launch.set(&format!("bus.ca_file={}", broker.ca_file().display()));
        }
        Admin::create(&launch).await;
        let exchanges = Arc::new(BTreeMap::from([(1, Exchange::start().await), (2, Exchange::start().await)]));
        let ticking = tokio::spawn(tick(exchanges.clone(), TICK));
        let followers = ["first, WebSocket", "first, events", "second, WebSocket", "second, events"];
        let followers = followers.map(|name| Follower::new(name, stale_after)).into();
        let (publishers, apis) = (BTreeMap::new(), Vec::new());
        let mut cluster = Self { broker, apis, followers, publishers, exchanges, launch, ticking };
        for number in [1, 2] {
            cluster.start_publisher(number).await;
        }
        for number in 0..2 {
            let api = cluster.start_api().await;
            cluster.apis.push(api);
            cluster.follow(number).await;
        }
        cluster.all_go_on().await;
        cluster
    }

    /// Starts the `exchange-rate` process that takes the rates of this exchange.
    pub(crate) async fn start_publisher(&mut self, exchange: u64) {
        let launch = self.launch.clone().exchange(&self.exchanges[&exchange].url()).arg("--role").arg("exchange-rate");
        let publisher = launch.start().await;
        publisher.ready("exchange-rate").await;
        self.publishers.insert(exchange, publisher);
    }

    /// Kills the `exchange-rate` process that takes the rates of this exchange.
    pub(crate) async fn kill_publisher(&mut self, exchange: u64) {
        if let Some(publisher) = self.publishers.remove(&exchange) {
            publisher.kill().await;
        }
    }

    /// Stops the `exchange-rate` process that takes the rates of this exchange, and starts it again.
    pub(crate) async fn replace_publisher(&mut self, exchange: u64) {
        if let Some(publisher) = self.publishers.remove(&exchange) {
            publisher.stop().await;
        }
        self.start_publisher(exchange).await;
    }

    /// Stops a `user-api` and starts it again. Its clients are told when to come again, and do.
    pub(crate) async fn replace_api(&mut self, number: usize) {
        self.apis.remove(number).stop().await;
        for follower in &mut self.followers[2 * number..2 * number + 2] {
            assert!(follower.sent_away().await.is_some_and(|millis| millis > 0), "no word of when to come again");
        }
        let api = self.start_api().await;
        self.apis.insert(number, api);
        self.follow(number).await;
    }

    /// Where the processes are started, with their database and its signing key.
    pub(crate) fn folder(&self) -> PathBuf {
        self.launch.folder()
    }

    /// Sends the `exchange-rate` process that takes the rates of this exchange a signal.
    pub(crate) fn signal_publisher(&self, exchange: u64, name: &str) {
        self.publishers[&exchange].signal(name);
    }

    /// This exchange says nothing any more, and lets nobody in.
    pub(crate) fn silence(&self, exchange: u64) {
        silence(&self.exchanges[&exchange]);
    }

    /// The processes that take rates.
    pub(crate) fn publishers(&self) -> impl Iterator<Item = &Ratebus> {
        self.publishers.values()
    }

    async fn start_api(&self) -> Ratebus {
        let api = self.launch.clone().arg("--role").arg("user-api").start().await;
        api.ready("user-api").await;
        api
    }

    /// Kills a `user-api`, and starts it again; its clients come back.
    pub(crate) async fn restart_api(&mut self, number: usize) {
        self.apis.remove(number).kill().await;
        let api = self.start_api().await;
        self.apis.insert(number, api);
        self.follow(number).await;
    }

    async fn follow(&mut self, number: usize) {
        let url = self.apis[number].url("user-api");
        self.followers[2 * number].follow_websocket(&url).await;
        self.followers[2 * number + 1].follow_events(&url).await;
    }

    /// The exchange whose prices are heard.
    pub(crate) fn heard(&self) -> u64 {
        self.exchanges_heard(0).last().copied().unwrap_or_default()
    }

    /// The exchanges that a client has heard, one after the other.
    pub(crate) fn exchanges_heard(&self, follower: usize) -> Vec<u64> {
        self.followers[follower].read(BASES[0].0, |history| history.exchanges.clone()).unwrap_or_default()
    }

    /// Waits until every client has a newer, fresh price; says how long that took.
    pub(crate) async fn all_go_on(&self) -> Duration {
        let mut longest = Duration::ZERO;
        for follower in &self.followers {
            longest = longest.max(follower.until_it_goes_on().await);
        }
        longest
    }

    /// Fails the test if any client was ever sent something wrong.
    pub(crate) fn check(&self) {
        self.followers.iter().for_each(Follower::check);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

/// All exchanges have the same price all the time, but for its last digit.
pub(crate) async fn tick(exchanges: Arc<BTreeMap<u64, Exchange>>, every: Duration) {
    let mut ticks = interval(every);
    for tick in 0.. {
        ticks.tick().await;
        for (number, exchange) in &*exchanges {
            for (pair, base) in BASES {
                let (bid, ask) = prices(base, tick, *number);
                exchange.tick(&pair.replace('_', "/"), &decimal(bid), &decimal(ask));
            }
        }
    }
}
