//! Buses of several processes, joined by a broker.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod contract;
mod guarded;
mod kept;

use std::{sync::Arc, task::Poll, time::Duration};

use contract::*;
use guarded::*;
use ratebus_bus::{Bus, BusConfig, Publisher, Subscribe, Subscription};
use ratebus_link::{Authorities, Keys, Link, Target};
use ratebus_model::{
    Limits, Market, Message, Outgoing, Pattern, Payload, Policy, Rate, RateValue, Subject, Timestamp, Version,
};
use ratebus_sdk::{Health, Inbox, Interest, PollInbox};
use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn start(kind: BrokerKind) -> Broker {
    Broker::start(kind, BrokerOptions::default())
}

fn target(kind: BrokerKind, url: &str, authorities: Option<&Authorities>) -> Target {
    match kind {
        BrokerKind::Redis => Target::redis(url, authorities),
        BrokerKind::Nats => Target::nats(url, authorities),
    }
    .unwrap()
}

/// Each of the contract's tests over each broker.
macro_rules! over_each_broker {
    ($($test:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::BrokerKind::Redis).await;
            })*
        }
        mod nats {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::BrokerKind::Nats).await;
            })*
        }
    };
}

over_each_broker!(
    what_one_publishes_all_others_get,
    of_two_publishers_one_is_heard_until_it_stops,
    after_an_outage_the_newest_value_comes,
    a_request_is_answered_elsewhere,
    only_who_knows_the_password_gets_in,
    a_broker_with_tls_proves_itself,
    who_may_not_publish_is_told,
);

/// A process: a bus, and its link to the broker.
struct Process {
    bus: Bus,
    publisher: Publisher,
    health: Health,
    stop: CancellationToken,
    run: JoinHandle<()>,
}

impl Process {
    fn join(kind: BrokerKind, broker: &Broker) -> Self {
        Self::start(target(kind, &broker.url(), None))
    }

    fn start(target: Target) -> Self {
        let bus = Bus::new(BusConfig::default());
        let health = Health::new("bus");
        let patterns = ["rates.>", "pairs.>", "spreads.>", "events.>"].map(|text| text.parse::<Pattern>().unwrap());
        let link = Link::new(bus.clone(), target, Keys::new([KEY]), patterns.to_vec(), health.clone());
        let subscribe = |interest: Interest| -> Box<dyn PollInbox> {
            let Interest { pattern, policy, capacity, queue: _, replay } = interest;
            let asked = Subscribe { policy, capacity, replay, ..Subscribe::new("link", pattern) };
            Box::new(Subscribed(bus.subscribe(asked)))
        };
        let exports = Inbox::new(Link::exports(patterns.to_vec()).into_iter().map(subscribe).collect());
        let stop = CancellationToken::new();
        let run = tokio::spawn(link.run(exports, stop.clone()));
        let publisher = bus.publisher("test");
        Self { bus, publisher, health, stop, run }
    }

    fn subscribe(&self, pattern: &str) -> Subscription {
        let pattern: Pattern = pattern.parse().unwrap();
        self.bus.subscribe(Subscribe { replay: true, ..Subscribe::new("test", pattern) })
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.run).await.unwrap().unwrap();
    }

    /// Publishes a rate with this ask.
    fn rate(&self, ask: u32) {
        let rate = rate(&self.publisher, ask);
        self.publisher.try_publish(Outgoing::new(Subject::rate(rate.source, rate.pair), rate)).unwrap();
    }
}

struct Subscribed(Subscription);

impl PollInbox for Subscribed {
    fn poll_recv(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.0.poll_recv(cx)
    }
}

fn rate(publisher: &Publisher, ask: u32) -> Rate {
    Rate {
        source: "kraken".parse().unwrap(),
        pair: "BTC_USD".parse().unwrap(),
        value: RateValue::TwoSided { bid: "1".parse().unwrap(), ask: ask.to_string().parse().unwrap() },
        market: Market::Online,
        event_time: None,
        recv_time: Timestamp::from(std::time::SystemTime::now()),
        confirmed_at: Instant::now().into_std(),
        limits: Limits::STREAM,
        version: Version::first(publisher.epoch()),
    }
}

/// The ask of the next rate.
async fn ask(subscription: &mut Subscription) -> u32 {
    let message = timeout(DEADLINE, subscription.recv()).await.unwrap().unwrap();
    let Payload::Rate(rate) = &message.payload else { panic!("{message:?}") };
    rate.value.ask().to_string().parse().unwrap()
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
