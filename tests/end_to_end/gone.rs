//! Pairs that a reload removes: gone at once, for everybody and in every process, and in order when they come back.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use ratebus_test_exchange::Exchange;
use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use serde_json::{Value, json};

use crate::harness::{Follower, Launch, Ratebus, SocketIo, eventually, in_project, tick};

over_each_broker!(
    a_pair_that_is_removed_is_gone_in_every_process,
    a_pair_that_is_left_out_at_a_restart_goes_when_it_is_dead
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_is_removed_is_gone_in_a_process_that_is_alone() {
    let (exchanges, launch) = prepare().await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let places = Places { publisher: &ratebus, api: &ratebus, launch: &launch };
    places.remove_and_bring_back().await;
    drop(exchanges);
}

async fn a_pair_that_is_removed_is_gone_in_every_process(kind: BrokerKind) {
    let broker = Broker::start(kind, BrokerOptions::default());
    let (exchanges, launch) = prepare().await;
    let launch = over(&broker, kind, launch);
    let publisher = launch.clone().arg("--role").arg("exchange-rate").start().await;
    let api = launch.clone().arg("--role").arg("user-api").start().await;
    api.ready("user-api").await;
    let places = Places { publisher: &publisher, api: &api, launch: &launch };
    places.remove_and_bring_back().await;
    if kind == BrokerKind::Redis {
        write(&launch, &["BTC_USD"], true);
        places.reload().await;
        let kept = ["rates.kraken.ETH_USD", "quotes.ETH_USD"].map(|subject| format!("ratebus:last:{subject}"));
        let is_gone = || async { (broker.redis_command(&["EXISTS", &kept[0], &kept[1]]) == "0").then_some(()) };
        eventually("Redis to keep nothing of it", is_gone).await;
        assert_eq!(broker.redis_command(&["EXISTS", "ratebus:last:rates.kraken.BTC_USD"]), "1");
    }
    drop(exchanges);
}

/// Nobody has said that it is gone: the process that served it ended, and another began.
async fn a_pair_that_is_left_out_at_a_restart_goes_when_it_is_dead(kind: BrokerKind) {
    let broker = Broker::start(kind, BrokerOptions::default());
    let (exchanges, launch) = prepare().await;
    let mut launch = over(&broker, kind, launch);
    for limit in ["stall_after=1s", "stale_after=2s", "dead_after=4s"] {
        launch = launch.set(&format!("plugin.kraken.config.{limit}"));
    }
    let exchange_rate = launch.clone().arg("--role").arg("exchange-rate");
    let publisher = exchange_rate.start().await;
    let api = launch.clone().arg("--role").arg("user-api").start().await;
    api.ready("user-api").await;
    let mut follower = Follower::new("WebSocket", Duration::from_secs(10));
    follower.follow_websocket(&api.url("user-api")).await;
    follower.until_it_goes_on().await;
    publisher.stop().await;
    write(&launch, &["BTC_USD"], true);
    let publisher = exchange_rate.start().await;
    let places = Places { publisher: &publisher, api: &api, launch: &launch };
    places.gone("ETH_USD", std::slice::from_ref(&follower)).await;
    let fresh = || async { follower.read("BTC_USD", |history| history.last["status"] == "fresh")?.then_some(()) };
    eventually("the other pair", fresh).await;
    follower.check();
    drop(exchanges);
}

fn over(broker: &Broker, kind: BrokerKind, launch: Launch) -> Launch {
    let backend = if kind == BrokerKind::Redis { "redis" } else { "nats" };
    launch.set(&format!("bus.backend={backend}")).variable("RATEBUS_BUS__URL", &broker.url_of_user())
}

/// An exchange whose prices tell their place in time, and a config of two of its pairs and the inverse of one.
async fn prepare() -> (Arc<BTreeMap<u64, Exchange>>, Launch) {
    let exchanges = Arc::new(BTreeMap::from([(1, Exchange::start().await)]));
    tokio::spawn(tick(exchanges.clone(), Duration::from_millis(100)));
    let launch = Launch::new().exchange(&exchanges[&1].url());
    write(&launch, &["BTC_USD", "ETH_USD"], true);
    (exchanges, launch)
}

fn write(launch: &Launch, pairs: &[&str], with_source: bool) {
    let shipped = fs::read_to_string(in_project("plugins.toml")).unwrap();
    let change = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let listed = r#"pairs = ["BTC_USD", "ETH_USD", "SOL_USD", "EUR_USD", "DOGE_USD"]"#;
    let mut text = change(shipped, listed, &format!("pairs = {pairs:?}"));
    if !with_source {
        text = change(text, r#"plugins = ["kraken", "rates-http", "spread""#, r#"plugins = ["rates-http", "spread""#);
        text = change(text, r#"plugins = ["kraken", "rates-http"]"#, r#"plugins = ["rates-http"]"#);
    }
    fs::write(launch.folder().join("plugins.toml"), text).unwrap();
}

/// Where rates come from and where clients are, which may be the same.
struct Places<'a> {
    publisher: &'a Ratebus,
    api: &'a Ratebus,
    launch: &'a Launch,
}

impl Places<'_> {
    async fn remove_and_bring_back(&self) {
        let url = self.api.url("user-api");
        // No price is dead within the test: what is gone has not died.
        let mut followers = ["WebSocket", "events"].map(|name| Follower::new(name, Duration::from_secs(10)));
        followers[0].follow_websocket(&url).await;
        followers[1].follow_events(&url).await;
        let mut live = SocketIo::connect(&url, "4", "websocket");
        live.until(|map| map["BTC_USD"].is_object() && map["ETH_USD"].is_object()).await;
        for follower in &followers {
            follower.until_it_goes_on().await;
        }

        write(self.launch, &["BTC_USD"], true);
        self.reload().await;
        live.until(|map| map["ETH_USD"].is_null()).await;
        self.gone("ETH_USD", &followers).await;
        for follower in &followers {
            let before = follower.read("BTC_USD", |history| history.tick);
            let goes_on = || async { (follower.read("BTC_USD", |history| history.tick) > before).then_some(()) };
            eventually("the other pair to go on", goes_on).await;
        }

        write(self.launch, &["BTC_USD", "ETH_USD"], true);
        self.reload().await;
        for follower in &followers {
            follower.until_it_goes_on().await;
        }
        live.until(|map| map["ETH_USD"].is_object()).await;

        // The only source of all goes, and comes back.
        write(self.launch, &["BTC_USD", "ETH_USD"], false);
        self.reload().await;
        live.until(|map| *map == json!({})).await;
        for pair in ["BTC_USD", "ETH_USD"] {
            self.gone(pair, &followers).await;
        }
        write(self.launch, &["BTC_USD", "ETH_USD"], true);
        self.reload().await;
        for follower in &followers {
            follower.until_it_goes_on().await;
            follower.check();
        }
    }

    async fn reload(&self) {
        let outcomes = || self.publisher.metric_of("ratebus_config_reloads_total", "taken_over");
        let before = outcomes().await;
        self.publisher.signal("HUP");
        eventually("a reload", || async { (outcomes().await > before).then_some(()) }).await;
    }

    async fn gone(&self, pair: &str, followers: &[Follower]) {
        for follower in followers {
            let told = |quote: &Value| quote["status"] == "dead" && quote["withheld"] == "not_served";
            let is_told = || async { follower.read(pair, |history| told(&history.last))?.then_some(()) };
            eventually(&format!("the word that {pair} is gone"), is_told).await;
        }
        let listeners = [(self.api, "user-api"), (self.publisher, "exchange-rate")];
        for ((ratebus, listener), path) in
            listeners.iter().flat_map(|place| ["rates", "pairs"].map(|path| (place, path)))
        {
            let url = format!("{}/v1/{path}", ratebus.url(listener));
            eventually(&format!("{pair} to go from {path} of {listener}"), || async {
                let listed = reqwest::get(&url).await.ok()?.text().await.ok()?;
                (!listed.contains(pair)).then_some(())
            })
            .await;
        }
        for question in ["", "?explain=true"] {
            let url = format!("{}/v1/rates/{pair}{question}", self.api.url("user-api"));
            assert_eq!(reqwest::get(url).await.unwrap().status(), 404, "{question}");
        }
        let all: Value =
            reqwest::get(format!("{}/rates", self.api.url("user-api"))).await.unwrap().json().await.unwrap();
        assert_eq!(all["data"][pair], json!(null), "{all}");
    }
}
