//! Several threads at once. Each test ends when everything arrived, or at its deadline.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ratebus_bus::{Policy, Publisher};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use super::*;

const DEADLINE: Duration = Duration::from_mins(1);
const PUBLISHERS: u64 = 3;
const MESSAGES: u64 = 3_000;
const SUBJECTS: u64 = 7;

/// The subject of a publisher's message: some are its own, one is everybody's.
fn place(publisher: u64, number: u64) -> String {
    match number % SUBJECTS {
        0 => "rates.all.X".to_owned(),
        pair => format!("rates.p{publisher}.P{pair}"),
    }
}

/// Checks that what a subscription sees never steps back.
#[derive(Default)]
struct Seen {
    newest: HashMap<(ratebus_model::Epoch, Subject), (u64, u64)>,
    count: u64,
}

impl Seen {
    fn see(&mut self, message: &Message) {
        let newest = (message.version.sequence, number(message));
        let before = self.newest.insert((message.version.epoch, message.subject.clone()), newest);
        assert!(before < Some(newest), "{message:?} after {before:?}");
        self.count += 1;
    }

    /// The last number seen of each publisher and subject.
    fn numbers(&self, publisher: &Publisher) -> HashMap<String, u64> {
        let own = self.newest.iter().filter(|((epoch, _), _)| *epoch == publisher.epoch());
        own.map(|((_, subject), (_, number))| (subject.to_string(), *number)).collect()
    }
}

/// Reads until the bus closes.
async fn read_all(mut subscription: Subscription, batches: bool) -> Seen {
    let mut seen = Seen::default();
    let mut batch = Vec::new();
    if batches {
        while subscription.recv_many(&mut batch, 64).await > 0 {
            batch.drain(..).for_each(|message| seen.see(&message));
        }
    } else {
        while let Some(message) = subscription.recv().await {
            seen.see(&message);
        }
    }
    assert_eq!(subscription.stats().dropped, 0);
    seen
}

/// Publishes from threads of their own, then closes the bus.
async fn publish_all(bus: Bus, publishers: Vec<Publisher>) {
    let threads: Vec<_> = publishers
        .into_iter()
        .zip(0..)
        .map(|(publisher, index)| {
            let runtime = Handle::current();
            thread::spawn(move || {
                for number in 1..=MESSAGES {
                    let message = message(&place(index, number), number);
                    runtime.block_on(publisher.publish(message)).unwrap();
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| thread.join().unwrap())).await.unwrap();
    bus.close();
}

fn last_numbers(index: u64) -> HashMap<String, u64> {
    (1..=MESSAGES).map(|number| (place(index, number), number)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_under_block() {
    let bus = bus();
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| bus.publisher("p")).collect();
    let mut readers = JoinSet::new();
    for capacity in [1, 2, 64, 100_000] {
        readers.spawn(read_all(subscribe(&bus, "rates.>", BLOCK, capacity), capacity % 2 == 0));
    }
    timeout(DEADLINE, publish_all(bus, publishers)).await.unwrap();
    for seen in timeout(DEADLINE, readers.join_all()).await.unwrap() {
        assert_eq!(seen.count, PUBLISHERS * MESSAGES);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_steps_back_under_conflate_and_the_last_value_arrives() {
    let bus = bus();
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| bus.publisher("p")).collect();
    let mut readers = JoinSet::new();
    // One subject is shared by all publishers: conflation leaves the last word to one of them, so only their own count.
    for (pattern, batches) in [("rates.*.*", true), ("rates.>", false), (">", true), (">", false), ("*.*.*", true)] {
        readers.spawn(read_all(subscribe(&bus, pattern, Policy::Conflate, 1024), batches));
    }
    timeout(DEADLINE, publish_all(bus, publishers.clone())).await.unwrap();
    for seen in timeout(DEADLINE, readers.join_all()).await.unwrap() {
        for (index, publisher) in (0..).zip(&publishers) {
            let (mut last, mut expected) = (seen.numbers(publisher), last_numbers(index));
            last.remove("rates.all.X");
            expected.remove("rates.all.X");
            assert_eq!(last, expected);
        }
    }
}

/// Subscriptions with replay come while messages are published: from their first message on they see every message of
/// a subject, and the first is the last value or the one after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_leaves_no_gap_and_does_not_step_back() {
    let bus = bus();
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| bus.publisher("p")).collect();
    let done = Arc::new(AtomicBool::new(false));
    let subscriber = thread::spawn({
        let (bus, done) = (bus.clone(), done.clone());
        move || {
            let mut subscriptions = Vec::new();
            while !done.load(Ordering::Relaxed) && subscriptions.len() < 400 {
                let block =
                    Subscribe { policy: BLOCK, capacity: 1_000_000, replay: true, ..named("late", "rates.*.*") };
                subscriptions.push(bus.subscribe(block));
            }
            subscriptions
        }
    });
    timeout(DEADLINE, publish_all(bus, publishers.clone())).await.unwrap();
    done.store(true, Ordering::Relaxed);
    let mut subscriptions = subscriber.join().unwrap();
    assert!(!subscriptions.is_empty());
    for subscription in &mut subscriptions {
        let mut newest: HashMap<_, u64> = HashMap::new();
        while let Some(message) = subscription.try_recv() {
            let sequence = message.version.sequence;
            let before = newest.insert((message.version.epoch, message.subject.clone()), sequence);
            assert!(before.is_none_or(|before| sequence == before + 1), "{message:?} after {before:?}");
        }
        for (index, publisher) in (0..).zip(&publishers) {
            for (subject, count) in counts(index) {
                let last = newest.get(&(publisher.epoch(), self::subject(&subject)));
                // The shared subject has one last value, which is one publisher's.
                assert!(last == Some(&count) || (last.is_none() && subject == "rates.all.X"), "{subject} {last:?}");
            }
        }
    }
}

/// How many messages of each subject a publisher sends.
fn counts(index: u64) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for number in 1..=MESSAGES {
        *counts.entry(place(index, number)).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_group_shares_the_messages_without_loss_or_double() {
    let bus = bus();
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| bus.publisher("p")).collect();
    let mut members = JoinSet::new();
    for _ in 0..3 {
        let member =
            Subscribe { policy: BLOCK, capacity: 16, queue: Some("group".into()), ..named("member", "rates.>") };
        members.spawn(read_all(bus.subscribe(member), true));
    }
    timeout(DEADLINE, publish_all(bus, publishers)).await.unwrap();
    let shares: Vec<u64> = timeout(DEADLINE, members.join_all()).await.unwrap().iter().map(|seen| seen.count).collect();
    assert_eq!(shares.iter().sum::<u64>(), PUBLISHERS * MESSAGES);
}

/// Subscriptions come and go while messages are published; those that stay lose nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_does_not_disturb_those_who_stay() {
    let bus = bus();
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| bus.publisher("p")).collect();
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        readers.spawn(read_all(subscribe(&bus, "rates.>", Policy::DropNewest, 1_000_000), true));
    }
    let done = Arc::new(AtomicBool::new(false));
    let churn = thread::spawn({
        let (bus, done) = (bus.clone(), done.clone());
        move || {
            let mut turn = 0_usize;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                let pattern = ["rates.*.P1", ">", "rates.p1.P2", "rates.>"][turn % 4];
                let mut passing = subscribe(&bus, pattern, Policy::DropNewest, 8);
                passing.try_recv();
            }
        }
    });
    timeout(DEADLINE, publish_all(bus, publishers)).await.unwrap();
    done.store(true, Ordering::Relaxed);
    churn.join().unwrap();
    for seen in timeout(DEADLINE, readers.join_all()).await.unwrap() {
        assert_eq!(seen.count, PUBLISHERS * MESSAGES);
    }
}
