//! Clients of every transport come, read a little and leave in every way there is, while prices and spreads change.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    client::{Client, Leave, Refused, TRANSPORTS, Transport, ask_by_halves},
    launch,
    market::{Market, PAIRS, State},
    number,
    seen::Seen,
    start,
};
use crate::harness::{Admin, Ratebus, eventually, quote_over_http, within};

const CLIENTS: usize = 48;
/// Of all of them some still seem to be there when they come again.
const PLACES: usize = 64;

/// After which who was told to come later tries again.
const IMPATIENCE: Duration = Duration::from_millis(10);

/// One who comes again and again, and remembers what it was told.
struct Visitor {
    address: SocketAddr,
    transport: Transport,
    seen: Seen,
    last: Option<String>,
    /// How often it was told to come later.
    refused: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_again_misses_nothing_and_leaves_nothing_behind() {
    let visits = number("RATEBUS_CROWD_RECONNECTS", 500);
    let usual = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_micros();
    let seed = number("RATEBUS_CROWD_SEED", usual as usize);
    println!("RATEBUS_CROWD_SEED={seed}");
    let mut market = Market::open().await;
    let (ratebus, address) = start(&launch(&market, PLACES).await).await;
    let admin = Admin::login(&ratebus).await;

    let began = Instant::now();
    let (visited, stop) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for index in 0..CLIENTS {
        let visited = visited.clone();
        tasks.spawn(async move {
            let mut visitor = Visitor::new(address, TRANSPORTS[index % TRANSPORTS.len()]);
            loop {
                let visit = visited.fetch_add(1, Ordering::Relaxed);
                if visit >= visits {
                    return visitor;
                }
                visitor.visit(&mut Dice(seed, visit)).await;
            }
        });
    }
    let all = async {
        let visitors = tasks.join_all().await;
        stop.store(true, Ordering::Relaxed);
        visitors
    };
    let (visitors, ()) = tokio::join!(all, market.trade(&admin, &stop));
    let took = began.elapsed();

    let last = market.states();
    shown(&ratebus, &last).await;
    let (mut wholes, mut quotes, mut refused) = (0, 0, 0);
    for mut visitor in visitors {
        visitor.stay_until(&last).await;
        wholes += visitor.seen.wholes;
        quotes += visitor.seen.quotes;
        refused += visitor.refused;
    }
    println!("{visits} visits in {took:?}: {wholes} snapshots and maps, {quotes} single quotes, {last:?} at the end");
    println!("{refused} times all places were taken");
    every_place_is_free_again(&ratebus, address).await;
    assert!(ratebus.log_lines("panicked").is_empty());
}

/// Waits until the prices are made from this.
async fn shown(ratebus: &Ratebus, states: &[State]) {
    let url = ratebus.url("user-api");
    eventually("the last change", || async {
        let mut seen = Seen::default();
        for pair in PAIRS {
            seen.take_quote(&quote_over_http(&url, pair).await, true);
        }
        seen.is(states).then_some(())
    })
    .await;
}

/// As many as are allowed find a place, one more does not, and it does once somebody leaves.
async fn every_place_is_free_again(ratebus: &Ratebus, address: SocketAddr) {
    eventually("nobody to be there", || async { (ratebus.metric("ratebus_clients").await == 0).then_some(()) }).await;
    let mut clients = Vec::new();
    for index in 0..PLACES {
        clients.push(Client::connect(address, TRANSPORTS[index % TRANSPORTS.len()], None).await.unwrap());
    }
    for transport in TRANSPORTS {
        let before = ratebus.metric_of("ratebus_clients_refused_total", "reason=\"full\"").await;
        let refused = Client::connect(address, transport, None).await.err().expect("no place");
        assert_eq!(refused.status, 503, "{transport:?}");
        assert!(refused.retry_after.is_some_and(|seconds| seconds > 0), "{transport:?}: {refused:?}");
        assert_eq!(ratebus.metric_of("ratebus_clients_refused_total", "reason=\"full\"").await, before + 1);
    }
    for transport in TRANSPORTS {
        clients.swap_remove(0).leave(Leave::Politely).await;
        let next = eventually("a place", || async { Client::connect(address, transport, None).await.ok() }).await;
        clients.push(next);
    }
}

impl Visitor {
    fn new(address: SocketAddr, transport: Transport) -> Self {
        Self { address, transport, seen: Seen::default(), last: None, refused: 0 }
    }

    async fn visit(&mut self, dice: &mut Dice) {
        if dice.roll(10) == 0 {
            ask_by_halves(self.address).await;
        }
        if dice.roll(3) == 0 {
            self.last = None;
        }
        let mut client = self.connect().await;
        for _ in 0..dice.roll(8) {
            let told = within("news", client.next()).await.expect("the connection goes on");
            self.seen.take(&told);
        }
        self.last = client.last().map(str::to_owned);
        let leave = [Leave::Politely, Leave::Silently, Leave::Rudely, Leave::HalfWay][dice.roll(4)];
        client.leave(leave).await;
    }

    /// Comes again and again when it was told to come later.
    async fn connect(&mut self) -> Client {
        let trying = async {
            loop {
                match Client::connect(self.address, self.transport, self.last.as_deref()).await {
                    Ok(client) => return client,
                    Err(Refused { status: 503, retry_after: Some(_) }) => self.refused += 1,
                    Err(refused) => panic!("{refused:?}"),
                }
                sleep(IMPATIENCE).await;
            }
        };
        within("a place", trying).await
    }

    /// Comes for the last time, and stays until its prices are made from this.
    async fn stay_until(&mut self, states: &[State]) {
        let mut client = self.connect().await;
        while !self.seen.is(states) {
            let told = within("the newest prices", client.next()).await.expect("the connection goes on");
            self.seen.take(&told);
        }
        client.leave(Leave::Politely).await;
    }
}

/// Chance that can be repeated: of a seed and a number.
struct Dice(usize, usize);

impl Dice {
    /// Less than `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.0, self.1).hash(&mut hasher);
        self.0 = usize::try_from(hasher.finish() >> 1).unwrap();
        self.0 % sides
    }
}
