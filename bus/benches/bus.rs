//! Deliveries per second against tokio's and flume's channels, and the cost of matching.
//!
//! One publisher thread, all subscribers as tasks of one other thread, 256-byte messages, at most 1,024 of them in
//! flight. The peers know no subjects: a channel per subscriber, or one broadcast channel. Rounds alternate between the
//! peers; the median counts. Compare within one run only, and on an idle machine.
#![expect(clippy::unwrap_used, reason = "a benchmark")]
#![expect(clippy::cast_precision_loss, clippy::float_arithmetic, reason = "rates for people, not money")]

use std::{
    future::Future,
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratebus_bus::{Bus, BusConfig, Outgoing, Policy, Publisher, Subscribe, Subscription};
use ratebus_model::{Message, Pattern, Payload, Subject};
use tokio::sync::{broadcast, mpsc as tokio_mpsc};

#[path = "../src/trie.rs"]
#[expect(dead_code, reason = "only matching is measured")]
mod trie;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);
const IN_FLIGHT: u64 = 1024;
const CAPACITY: usize = 8192;
const BATCH: usize = 128;
const SUBJECT: &str = "rates.kraken.BTC_USD";

type Measure = Box<dyn Fn() -> f64>;

fn main() {
    for subscribers in [1, 16, 1000] {
        println!("{subscribers} subscribers, million deliveries per second");
        let mut peers: Vec<(&str, Measure)> = vec![
            ("tokio mpsc", Box::new(move || measure(Mpsc::default(), subscribers))),
            ("tokio broadcast", Box::new(move || measure(broadcast::channel(CAPACITY), subscribers))),
            ("flume", Box::new(move || measure(Flume::default(), subscribers))),
        ];
        for (name, pattern, prefix) in [
            ("ratebus, one subject", SUBJECT, "rates."),
            ("ratebus, rates.*.BTC_USD", "rates.*.BTC_USD", "rates."),
            ("ratebus, no last value", "rates.>", "none."),
        ] {
            peers.push((name, Box::new(move || measure(Ours::new(pattern, prefix), subscribers))));
        }
        let mut rates = vec![Vec::new(); peers.len()];
        for _ in 0..ROUNDS {
            for (rates, (_, measure)) in rates.iter_mut().zip(&peers) {
                rates.push(measure());
            }
        }
        for (mut rates, (name, _)) in rates.into_iter().zip(peers) {
            rates.sort_by(f64::total_cmp);
            println!("  {name:26} {:8.2}", rates[ROUNDS / 2] / 1e6);
        }
    }
    for subscriptions in [1_000, 100_000, 1_000_000] {
        println!("{subscriptions} subscriptions, {:.0} ns to find 4", matching(subscriptions));
    }
}

/// A way from one publisher to many readers.
trait Peer: Send + 'static {
    type Publisher;
    type Reader: Send + 'static;
    fn reader(&mut self) -> Self::Reader;
    fn publisher(self) -> Self::Publisher;
    fn publish(publisher: &mut Self::Publisher, payload: Bytes);
    /// Waits, then takes what is there; how many messages, 0 once closed.
    fn read(reader: &mut Self::Reader) -> impl Future<Output = u64> + Send;
}

/// Deliveries per second.
fn measure<P: Peer>(mut peer: P, subscribers: u64) -> f64 {
    let delivered = Arc::new(AtomicU64::new(0));
    let (send_peer, peer_ready) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let readers = thread::spawn({
        let (delivered, stop) = (delivered.clone(), stop.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async move {
                for _ in 0..subscribers {
                    let (mut reader, delivered) = (peer.reader(), delivered.clone());
                    tokio::spawn(async move {
                        loop {
                            match P::read(&mut reader).await {
                                0 => break,
                                count => _ = delivered.fetch_add(count, Ordering::Relaxed),
                            }
                        }
                    });
                }
                send_peer.send(peer).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
    });
    let mut publisher = peer_ready.recv().unwrap().publisher();
    let started = Instant::now();
    let mut expected = 0;
    while started.elapsed() < ROUND {
        for _ in 0..64 {
            P::publish(&mut publisher, Bytes::copy_from_slice(&[0x5a; 256]));
        }
        expected += 64 * subscribers;
        while expected - delivered.load(Ordering::Relaxed) > IN_FLIGHT * subscribers {
            hint::spin_loop();
        }
    }
    while delivered.load(Ordering::Relaxed) < expected {
        hint::spin_loop();
    }
    let rate = expected as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    readers.join().unwrap();
    rate
}

struct Ours {
    bus: Bus,
    pattern: Pattern,
}

impl Ours {
    fn new(pattern: &str, last_values: &str) -> Self {
        let config = BusConfig { last_value_prefixes: vec![last_values.to_owned()], ..BusConfig::default() };
        Self { bus: Bus::new(config), pattern: pattern.parse().unwrap() }
    }
}

impl Peer for Ours {
    type Publisher = (Publisher, Subject);
    type Reader = (Subscription, Vec<Arc<Message>>);
    fn reader(&mut self) -> Self::Reader {
        let subscribe = Subscribe::new("reader", self.pattern.clone());
        let subscribe = Subscribe { policy: Policy::DropNewest, capacity: CAPACITY, ..subscribe };
        (self.bus.subscribe(subscribe), Vec::new())
    }
    fn publisher(self) -> Self::Publisher {
        (self.bus.publisher("publisher"), SUBJECT.parse().unwrap())
    }
    fn publish((publisher, subject): &mut Self::Publisher, payload: Bytes) {
        publisher.try_publish(Outgoing::new(subject.clone(), Payload::Bytes(payload))).unwrap();
    }
    async fn read((subscription, batch): &mut Self::Reader) -> u64 {
        let count = subscription.recv_many(batch, BATCH).await;
        batch.clear();
        count as u64
    }
}

#[derive(Default)]
struct Mpsc(Vec<tokio_mpsc::Sender<Bytes>>);

impl Peer for Mpsc {
    type Publisher = Self;
    type Reader = (tokio_mpsc::Receiver<Bytes>, Vec<Bytes>);
    fn reader(&mut self) -> Self::Reader {
        let (sender, receiver) = tokio_mpsc::channel(CAPACITY);
        self.0.push(sender);
        (receiver, Vec::new())
    }
    fn publisher(self) -> Self {
        self
    }
    fn publish(publisher: &mut Self, payload: Bytes) {
        for sender in &publisher.0 {
            sender.try_send(payload.clone()).unwrap();
        }
    }
    async fn read((receiver, batch): &mut Self::Reader) -> u64 {
        let count = receiver.recv_many(batch, BATCH).await;
        batch.clear();
        count as u64
    }
}

impl Peer for (broadcast::Sender<Bytes>, broadcast::Receiver<Bytes>) {
    type Publisher = broadcast::Sender<Bytes>;
    type Reader = broadcast::Receiver<Bytes>;
    fn reader(&mut self) -> Self::Reader {
        self.0.subscribe()
    }
    fn publisher(self) -> Self::Publisher {
        self.0
    }
    fn publish(publisher: &mut Self::Publisher, payload: Bytes) {
        publisher.send(payload).unwrap();
    }
    async fn read(reader: &mut Self::Reader) -> u64 {
        if reader.recv().await.is_err() {
            return 0;
        }
        1 + (1..BATCH).map_while(|_| reader.try_recv().ok()).count() as u64
    }
}

#[derive(Default)]
struct Flume(Vec<flume::Sender<Bytes>>);

impl Peer for Flume {
    type Publisher = Self;
    type Reader = flume::Receiver<Bytes>;
    fn reader(&mut self) -> Self::Reader {
        let (sender, receiver) = flume::bounded(CAPACITY);
        self.0.push(sender);
        receiver
    }
    fn publisher(self) -> Self {
        self
    }
    fn publish(publisher: &mut Self, payload: Bytes) {
        for sender in &publisher.0 {
            sender.try_send(payload.clone()).unwrap();
        }
    }
    async fn read(reader: &mut Self::Reader) -> u64 {
        if reader.recv_async().await.is_err() {
            return 0;
        }
        1 + (1..BATCH).map_while(|_| reader.try_recv().ok()).count() as u64
    }
}

/// Nanoseconds to find the subscriptions of a subject that is not remembered: one literal, one `*`, one `>` below a
/// source and one `>`.
fn matching(subscriptions: u32) -> f64 {
    const SOURCES: u32 = 10;
    let mut trie = trie::Trie::default();
    let pairs = subscriptions / (SOURCES + 1);
    let pattern = |text: String| text.parse::<Pattern>().unwrap();
    trie.insert(&pattern(">".to_owned()), 0);
    for source in 0..SOURCES {
        trie.insert(&pattern(format!("rates.source{source}.>")), 0);
    }
    for pair in 0..pairs {
        trie.insert(&pattern(format!("rates.*.C{pair:05}_USD")), 0);
        for source in 0..SOURCES {
            trie.insert(&pattern(format!("rates.source{source}.C{pair:05}_USD")), 0);
        }
    }
    let spread = |number: u32| number.wrapping_mul(2_654_435_769);
    let subject = |number| format!("rates.source{}.C{:05}_USD", number % SOURCES, spread(number) % pairs);
    let subjects: Vec<Subject> = (0..100_000).map(|number| subject(number).parse().unwrap()).collect();
    let started = Instant::now();
    let mut found = 0;
    for subject in &subjects {
        trie.each_match(subject, &mut |_| found += 1);
    }
    let elapsed = started.elapsed();
    assert_eq!(found, 4 * subjects.len());
    elapsed.as_nanos() as f64 / subjects.len() as f64
}
