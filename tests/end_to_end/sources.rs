//! One price from two sources: whichever falls silent, clients go on with the other and are told nothing wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ratebus_test_exchange::Exchange;
use serde_json::{Value, json};

use crate::harness::{Follower, Launch, Ratebus, eventually, quote_over_http, silence, tick};

/// How long a price stays fresh here.
const STALE_AFTER: Duration = Duration::from_secs(6);
/// How often each exchange has new prices.
const TICK: Duration = Duration::from_millis(50);
/// How many clients of each kind of stream there are.
const CROWD: usize = 4;
const PAIRS: [&str; 2] = ["BTC_USD", "ETH_USD"];

/// Two scripted exchanges, each of which is a source of the same pairs.
struct Two {
    ratebus: Ratebus,
    exchanges: Arc<BTreeMap<u64, Exchange>>,
}

impl Two {
    /// Starts everything, with this of each pair.
    async fn start(of_each_pair: &[&str]) -> Self {
        let exchanges = Arc::new(BTreeMap::from([(1, Exchange::start().await), (2, Exchange::start().await)]));
        let mut launch = Launch::new().exchange(&exchanges[&1].url()).set("plugin.second.use=source/kraken");
        launch = launch.set(&format!("plugin.second.config.endpoint={}", exchanges[&2].url()));
        launch = launch.set(r#"role.all.plugins=["kraken","second","rates-http","spread","api","broadcast"]"#);
        for source in ["kraken", "second"] {
            for setting in ["stall_after=3s", "stale_after=6s", "dead_after=1m"] {
                launch = launch.set(&format!("plugin.{source}.config.{setting}"));
            }
            launch = launch.set(&format!("plugin.{source}.config.pairs={PAIRS:?}"));
        }
        for (pair, setting) in PAIRS.iter().flat_map(|pair| of_each_pair.iter().map(move |setting| (pair, setting))) {
            launch = launch.set(&format!("pairs.{pair}.{setting}"));
        }
        tokio::spawn(tick(exchanges.clone(), TICK));
        Self { ratebus: launch.start().await, exchanges }
    }

    fn url(&self) -> String {
        self.ratebus.url("user-api")
    }

    /// Clients of every transport, each of which checks all that it is told.
    async fn followers(&self) -> Vec<Follower> {
        let url = self.url();
        let mut followers = Vec::new();
        for number in 0..CROWD {
            let mut socket = Follower::new(&format!("WebSocket {number}"), STALE_AFTER);
            socket.follow_websocket(&url).await;
            let mut events = Follower::new(&format!("events {number}"), STALE_AFTER);
            events.follow_events(&url).await;
            followers.extend([socket, events]);
        }
        for transport in ["polling", "websocket"] {
            let mut live = Follower::new(&format!("Socket.IO, {transport}"), STALE_AFTER);
            live.follow_live(&url, transport);
            followers.push(live);
        }
        let mut http = Follower::new("HTTP", STALE_AFTER);
        http.follow_http(&url);
        followers.push(http);
        followers
    }

    /// Waits until each pair's quote is as `wanted`.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let url = format!("{}/v1/rates", self.url());
        eventually(what, || async {
            let all: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            let rates = all["rates"].as_array()?;
            (rates.len() == PAIRS.len() && rates.iter().all(&wanted)).then_some(())
        })
        .await;
    }

    async fn explained(&self, pair: &str) -> Value {
        quote_over_http(&self.url(), &format!("{pair}?explain=true")).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_source_takes_over_from_a_silent_first() {
    // The order decides who is heard; nobody goes back within the test.
    let two = Two::start(&[r#"sources=["kraken","second"]"#, "return_after=1h"]).await;
    two.until("the first source", |quote| quote["source"] == "kraken" && quote["withheld"].is_null()).await;
    let followers = two.followers().await;
    for follower in &followers {
        follower.until("the first exchange", |history| history.exchanges == [1]).await;
    }
    let both = |explained: &Value| explained["sources"].as_array().is_some_and(|sources| sources.len() == 2);
    eventually("both sources", || async { both(&two.explained("BTC_USD").await).then_some(()) }).await;

    silence(&two.exchanges[&1]);
    for follower in &followers {
        follower.until("the second exchange", |history| history.exchanges.last() == Some(&2)).await;
        follower.until_it_goes_on().await;
        let exchanges = follower.read("BTC_USD", |history| history.exchanges.clone()).unwrap();
        assert_eq!(exchanges, [1, 2], "nobody hears both in turns");
    }
    eventually("the first source to be missed", || async {
        let ready = reqwest::get(format!("{}/readyz", two.url())).await.ok()?;
        assert_eq!(ready.status(), 200, "good prices go on");
        let ready: Value = ready.json().await.ok()?;
        (ready["plugins"]["kraken"] == "not_ready").then_some(())
    })
    .await;
    let explained = two.explained("BTC_USD").await;
    let verdicts: Vec<&Value> =
        explained["sources"].as_array().unwrap().iter().map(|source| &source["verdict"]).collect();
    assert_eq!(verdicts, [&json!("stale"), &json!("used")], "{explained}");

    two.exchanges[&1].refuse_handshakes(None);
    eventually("the first source to be back", || async {
        (two.explained("BTC_USD").await["sources"][0]["verdict"] == "returning").then_some(())
    })
    .await;
    for follower in &followers {
        follower.until_it_goes_on().await;
        follower.check();
        assert_eq!(
            follower.read("BTC_USD", |history| history.exchanges.clone()).unwrap(),
            [1, 2],
            "it is not gone back to"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_median_goes_on_with_a_quorum_and_is_withheld_without_one() {
    let two = Two::start(&["price=median"]).await;
    two.until("a median", |quote| quote["source"] == "median" && quote["status"] == "fresh").await;
    let of_both = json!(["kraken", "second"]);
    two.until("both sources", |quote| quote["sources"] == of_both && quote["withheld"].is_null()).await;
    let explained = two.explained("BTC_USD").await;
    let (median, rounded) = (&explained["steps"][0], &explained["steps"][2]);
    assert_eq!(median["buy"]["inputs"].as_array().unwrap().len(), 2, "{explained}");
    assert_eq!(median["buy"]["result"], explained["original"]["buy"]);
    assert_eq!((&rounded["operation"], &rounded["buy"]["result"]), (&json!("round"), &explained["customer"]["buy"]));
    silence(&two.exchanges[&2]);
    two.until("no price", |quote| quote["withheld"] == "no_quorum" && quote["status"] == "stale").await;
    let live: Value = reqwest::get(format!("{}/rates", two.url())).await.unwrap().json().await.unwrap();
    assert_eq!(live["data"], json!({}), "old clients see no pair without a customer price");
    two.exchanges[&2].refuse_handshakes(None);
    two.until("the median again", |quote| quote["withheld"].is_null() && quote["status"] == "fresh").await;
}
