//! Buses of several processes, joined by a broker.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod contract;
mod example;
mod guarded;
mod joined;
mod kept;

use std::{sync::Arc, time::Duration};

use guarded::*;
use joined::*;
use ratebus_bus::{Bus, BusConfig, Publisher, Subscribe, Subscription};
use ratebus_link::{Authorities, Keys, Link, Target};
use ratebus_model::{
    Limits, Market, Message, Outgoing, Pattern, Payload, Policy, Rate, RateValue, Subject, Timestamp, Version,
};
use ratebus_sdk::{Health, HealthState};
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
    what_is_said_just_before_the_end_goes_out,
    a_publisher_that_is_gone_leaves_its_place_while_its_process_goes_on,
    after_an_outage_the_newest_value_comes,
    what_a_process_does_not_share_stays_there,
    everything_may_be_shared,
    a_member_that_dies_is_soon_passed_over,
    members_of_the_same_process_are_served_first,
    who_stands_by_serves_no_members,
    whatever_happens_no_message_is_served_twice,
    only_who_knows_the_password_gets_in,
    a_broker_with_tls_proves_itself,
    who_may_not_publish_is_told,
    who_signs_with_another_key_is_served_nothing,
);

/// A process: a bus, and its link to a broker, if it has one.
struct Process {
    bus: Bus,
    publisher: Publisher,
    health: Health,
    link: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    run: JoinHandle<()>,
}

impl Process {
    fn join(kind: BrokerKind, broker: &Broker) -> Self {
        Self::start(target(kind, &broker.url(), None))
    }

    fn start(target: Target) -> Self {
        Self::start_with(target, KEY, &["rates.>", "pairs.>", "spreads.>", "events.>"])
    }

    /// One that signs with this key, and shares this.
    fn start_with(target: Target, key: &[u8], patterns: &[&str]) -> Self {
        let bus = Bus::new(BusConfig::default());
        let health = Health::new("bus");
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        let link = Link::new(bus.clone(), target, Keys::new([key]), patterns.clone(), patterns, health.clone());
        let stop = CancellationToken::new();
        let run = tokio::spawn(link.run(stop.clone()));
        Self { link: Some(Running { stop, run }), health, ..Self::alone(bus) }
    }

    /// One that shares its bus with others in memory.
    fn alone(bus: Bus) -> Self {
        let health = Health::new("bus");
        health.ready();
        Self { publisher: bus.publisher("test"), bus, health, link: None }
    }

    /// Waits until it hears everybody.
    async fn ready(&self) {
        eventually("it to be connected", || matches!(self.health.state(), HealthState::Ready)).await;
    }

    fn subscribe(&self, pattern: &str) -> Subscription {
        let pattern: Pattern = pattern.parse().unwrap();
        self.bus.subscribe(Subscribe { replay: true, ..Subscribe::new("test", pattern) })
    }

    /// A reader of everything.
    fn reader(&self, pattern: &str) -> Subscription {
        self.inbox(pattern, Policy::DropNewest, 10_000)
    }

    fn inbox(&self, pattern: &str, policy: Policy, capacity: usize) -> Subscription {
        let pattern: Pattern = pattern.parse().unwrap();
        self.bus.subscribe(Subscribe { policy, capacity, ..Subscribe::new("test", pattern) })
    }

    /// A member of a queue group.
    fn member(&self, pattern: &str, group: &str) -> Subscription {
        let (policy, capacity, queue) = (Policy::DropNewest, 10_000, Some(group.into()));
        let pattern: Pattern = pattern.parse().unwrap();
        self.bus.subscribe(Subscribe { policy, capacity, queue, ..Subscribe::new("test", pattern) })
    }

    /// Publishes a number.
    fn say(&self, subject: &str, number: u64) {
        self.publisher.try_publish(message(subject, number)).unwrap();
    }

    async fn stop(self) {
        if let Some(Running { stop, run }) = self.link {
            stop.cancel();
            timeout(DEADLINE, run).await.unwrap().unwrap();
        }
    }

    /// Publishes a rate with this ask.
    fn rate(&self, ask: u32) {
        let rate = rate(&self.publisher, ask);
        self.publisher.try_publish(Outgoing::new(Subject::rate(rate.source, rate.pair), rate)).unwrap();
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

/// A message that says a number.
fn message(subject: &str, number: u64) -> Outgoing {
    Outgoing::new(subject.parse().unwrap(), Payload::Bytes(number.to_string().into()))
}

fn number(message: &Message) -> u64 {
    let Payload::Bytes(text) = &message.payload else { panic!("{message:?}") };
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

async fn next(subscription: &mut Subscription) -> Arc<Message> {
    timeout(DEADLINE, subscription.recv()).await.unwrap().unwrap()
}

/// Numbers below this are said until it is known that they are heard.
const FIRST: u64 = 1_000_000;
/// The number that ends a test.
const END: u64 = u64::MAX;

/// The numbers from [`FIRST`] on, up to the first [`END`].
async fn until_end(subscription: &mut Subscription) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        match number(&*next(subscription).await) {
            END => return numbers,
            number if number >= FIRST => numbers.push(number),
            _ => {}
        }
    }
}

/// Publishes until each member of a group has had something, so it is known where they all are.
async fn all_served(publisher: &Process, subject: &str, members: &mut [Subscription]) {
    let (mut served, mut number) = (vec![false; members.len()], 0);
    eventually("all members to be served", || {
        number += 1;
        publisher.say(subject, number);
        for (served, member) in served.iter_mut().zip(&mut *members) {
            *served |= member.try_recv().is_some();
        }
        served.iter().all(|served| *served)
    })
    .await;
}

/// The ask of the next rate.
async fn ask(subscription: &mut Subscription) -> u32 {
    let message = next(subscription).await;
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
