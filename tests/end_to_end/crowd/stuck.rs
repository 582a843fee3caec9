//! Clients that take nothing, among many that do, and one that takes nothing for a while.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{
    client::{Client, Transport},
    launch,
    market::{Market, State},
    number,
    seen::Seen,
    start,
};
use crate::harness::{Ratebus, within};

/// Those whose connections stay open: who polls is not connected in between.
const STREAMS: [Transport; 3] = [Transport::WebSocket, Transport::Events, Transport::SocketIo];
const READERS: usize = 180;
const STUCK: usize = 20;
/// How many prices are told to who takes nothing: megabytes, if they were kept.
const TICKS: usize = 1000;
/// Far less than that for all of them, and more than the server needs for anything else.
const FLAT_KIB: u64 = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stuck_cost_no_memory_and_nobody_else_a_price() {
    let mut market = Market::open().await;
    let (ratebus, address) = start(&launch(&market, READERS + STUCK).await).await;
    let mut readers = Vec::new();
    for index in 0..READERS {
        let client = Client::connect(address, STREAMS[index % STREAMS.len()], None).await.unwrap();
        readers.push((client, Seen::default()));
    }
    print("without them", rounds(&mut market, &mut readers, 50).await);
    let mut stuck = Vec::new();
    for index in 0..STUCK {
        stuck.push(Client::connect_narrow(address, STREAMS[index % STREAMS.len()]).await);
    }
    print("with them", rounds(&mut market, &mut readers, 50).await);
    let before = memory(&ratebus);
    // Nobody else reads meanwhile.
    rounds(&mut market, &mut readers[..1], TICKS).await;
    let after = memory(&ratebus);
    rounds(&mut market, &mut readers, 1).await;
    println!("the server had {before} KiB, and then {after} KiB");
    assert!(after < before + FLAT_KIB, "{before} KiB, then {after} KiB");
    drop(stuck);
}

/// Between two prices when it is waited for something else.
const PACE: Duration = Duration::from_millis(10);
/// What a client may be told between the end of its pause and the newest price: what was under way.
const UNDER_WAY: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_again_after_a_pause_gets_the_newest_prices() {
    let pause = Duration::from_secs(number("RATEBUS_CROWD_PAUSE", 0) as u64);
    let mut market = Market::open().await;
    let (_ratebus, address) = start(&launch(&market, 2 * STREAMS.len()).await).await;
    for transport in STREAMS {
        let mut reading = vec![(Client::connect(address, transport, None).await.unwrap(), Seen::default())];
        let (mut paused, mut seen) = (Client::connect_narrow(address, transport).await, Seen::default());
        until(&mut paused, &mut seen, &market.states()).await;
        let began = Instant::now();
        rounds(&mut market, &mut reading, TICKS).await;
        while began.elapsed() < pause {
            sleep(PACE).await;
            rounds(&mut market, &mut reading, 1).await;
        }
        let taken = until(&mut paused, &mut seen, &market.states()).await;
        println!("{transport:?}: after {:?} the newest prices came behind {taken} others", began.elapsed());
        assert!(taken < UNDER_WAY, "{transport:?}: {taken}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pauses_for_too_long_is_closed() {
    let limit = number("RATEBUS_CROWD_STALL", 1);
    let mut market = Market::open().await;
    let launch = launch(&market, 10).await.set(&format!("plugin.broadcast.config.stall_timeout={limit}s"));
    let (ratebus, address) = start(&launch).await;
    for transport in [Transport::WebSocket, Transport::SocketIo] {
        let mut reading = vec![(Client::connect(address, transport, None).await.unwrap(), Seen::default())];
        let _paused = Client::connect_narrow(address, transport).await;
        let began = Instant::now();
        let stalled = async || ratebus.metric_of("ratebus_clients_closed_total", "reason=\"stalled\"").await;
        let before = stalled().await;
        let closing = async {
            rounds(&mut market, &mut reading, TICKS).await;
            while stalled().await == before {
                sleep(PACE).await;
                rounds(&mut market, &mut reading, 1).await;
            }
        };
        timeout(Duration::from_mins(2), closing).await.expect("it is closed");
        println!("{transport:?}: closed after {:?}", began.elapsed());
    }
}

/// One price after the other, each as soon as everybody has the one before; how long each took.
async fn rounds(market: &mut Market, readers: &mut [(Client, Seen)], number: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..number {
        let began = Instant::now();
        market.tick();
        let states = market.states();
        for (client, seen) in readers.iter_mut() {
            until(client, seen, &states).await;
        }
        took.push(began.elapsed());
    }
    took
}

async fn until(client: &mut Client, seen: &mut Seen, states: &[State]) -> usize {
    let mut taken = 0;
    while !seen.is(states) {
        let told = within("the newest price", client.next()).await.expect("the connection goes on");
        seen.take(&told);
        taken += 1;
    }
    taken
}

fn print(when: &str, mut took: Vec<Duration>) {
    took.sort();
    let [p50, p99] = [50, 99].map(|percent| took[took.len() * percent / 100]);
    println!("{when} a price was with all {READERS} readers after {p50:?}, 99 of 100 times after {p99:?}");
}

/// What the process has in memory (`VmRSS` of proc(5)).
fn memory(ratebus: &Ratebus) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", ratebus.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
