//! How many rates one core delivers to clients, next to what the kernel allows: a loop that does nothing but write ready
//! frames to its sockets. `docs/performance.md` has the numbers.
//!
//! `cargo bench --bench fanout -- [--clients 1000,10000] [--rounds 3] [--seconds 3]`, on Linux, with two cores: the
//! server has the first to itself and everything else the second. Servers take turns, the median counts, and what is to
//! be compared is a ratio of one run: a machine that does other things, too, slows both.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::float_arithmetic,
    reason = "measurements for people, not money"
)]

mod clients;
mod limit;
mod server;
mod usage;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use self::{
    clients::{Clients, Flow},
    server::{Kind, Server},
};

/// How often a second a rate changes where delays are measured.
const PACE: u32 = 20;
/// The most clients that delays are measured with: beyond, that pace alone fills a core.
const MOST_PACED: usize = 2000;
/// Clients among whom some take nothing, how many those are, and how often a second a rate changes meanwhile: more than the
/// kernel keeps for a connection, within seconds.
const READERS: usize = 180;
const STUCK: usize = 20;
const STUCK_PACE: u32 = 200;
/// How many pairs there are, and so how many changes are pending at most.
const PAIRS: u64 = 8;

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    SocketIo,
}

/// What one server did, by name and in the order of the table.
type Results = Vec<(&'static str, f64)>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [name, rest @ ..] = args.as_slice()
        && name == limit::NAME
    {
        return limit::run(rest);
    }
    // `cargo test --all-targets` only wants to know that it can be built.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let option = |name: &str, default: &str| {
        let value = args.iter().skip_while(|arg| *arg != name).nth(1);
        value.cloned().unwrap_or_else(|| default.to_owned())
    };
    let counts: Vec<usize> = option("--clients", "1000,10000").split(',').map(|count| count.parse().unwrap()).collect();
    let rounds: usize = option("--rounds", "3").parse().unwrap();
    let seconds = Duration::from_secs(option("--seconds", "3").parse().unwrap());
    usage::raise_open_files();
    let pinned = Command::new("taskset").args(["-cp", "1", &std::process::id().to_string()]).output().unwrap();
    assert!(pinned.status.success(), "there is no second core for the clients");

    for protocol in [Protocol::WebSocket, Protocol::SocketIo] {
        for &count in &counts {
            let (mut ours, mut limit) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let (results, size) = measure(Kind::Ratebus, protocol, count, seconds, 0);
                ours.push(results);
                limit.push(measure(Kind::Limit, protocol, count, seconds, size).0);
            }
            print(protocol, count, &ours, &limit);
        }
        print_stuck(protocol, &(0..rounds).map(|_| measure_stuck(protocol, seconds)).collect::<Vec<_>>());
    }
}

/// Does everything with one server. `size` is that of a message where the server has to be told; it is returned with the
/// results.
fn measure(kind: Kind, protocol: Protocol, count: usize, seconds: Duration, size: usize) -> (Results, usize) {
    let mut server = Server::start(kind, protocol, size);
    let mut results = Vec::new();

    let before = server.usage();
    let mut clients = Clients::new(protocol, server.address());
    let started = Instant::now();
    clients.connect(count);
    results.push(("clients accepted per second", count as f64 / started.elapsed().as_secs_f64()));
    let connected = server.usage();
    results.push(("CPU per client accepted, µs", connected.since(before).as_secs_f64() * 1e6 / count as f64));
    clients.listen(Duration::from_secs(1));
    results.push((
        "memory per idle client, bytes",
        server.usage().memory.saturating_sub(before.memory) as f64 / count as f64,
    ));

    let mut size = 0;
    for (rate, cpu, in_flight) in [
        ("deliveries per second, one change in flight", "CPU per delivery, µs, one change in flight", 1),
        ("deliveries per second, eight in flight", "CPU per delivery, µs, eight in flight", PAIRS),
    ] {
        clients.run(&mut server, Flow::Pending(in_flight), Duration::from_millis(500));
        let before = server.usage();
        let report = clients.run(&mut server, Flow::Pending(in_flight), seconds);
        let spent = server.usage().since(before);
        results.push((rate, report.deliveries as f64 / report.lasted.as_secs_f64()));
        results.push((cpu, spent.as_secs_f64() * 1e6 / report.deliveries as f64));
        if in_flight == 1 {
            size = report.bytes / report.deliveries.max(1) as usize;
        }
    }
    if count <= MOST_PACED {
        let mut delays = clients.run(&mut server, Flow::Paced(PACE), seconds).delays;
        delays.sort_unstable();
        let at = |percent: usize| f64::from(delays[(delays.len() - 1) * percent / 100]);
        results.push(("delay at 20 changes per second, µs: median", at(50)));
        results.push(("delay at 20 changes per second, µs: p99", at(99)));
    }
    (results, size)
}

/// What those who take nothing cost the others and the server: the same clients without them, and then beside them.
fn measure_stuck(protocol: Protocol, length: Duration) -> [f64; 3] {
    let mut server = Server::start(Kind::Ratebus, protocol, 0);
    let mut clients = Clients::new(protocol, server.address());
    let pace = Flow::Paced(STUCK_PACE);
    let p99 = |clients: &mut Clients, server: &mut Server| {
        let mut delays = clients.run(server, pace, length).delays;
        delays.sort_unstable();
        f64::from(delays[(delays.len() - 1) * 99 / 100])
    };
    clients.connect(READERS);
    let alone = p99(&mut clients, &mut server);
    clients.connect(READERS + STUCK);
    clients.stick(STUCK);
    let before = server.usage();
    clients.run(&mut server, pace, 2 * length);
    let beside = p99(&mut clients, &mut server);
    [alone, beside, server.usage().memory.saturating_sub(before.memory) as f64 / STUCK as f64]
}

fn print_stuck(protocol: Protocol, rounds: &[[f64; 3]]) {
    let [alone, beside, memory] = [0, 1, 2].map(|column| median(rounds.iter().map(|results| results[column])));
    println!("\n{protocol:?}, {READERS} clients at {STUCK_PACE} changes per second, delay in µs, p99: {alone:.0};");
    println!(
        "beside {STUCK} that take nothing: {beside:.0} ({:.2}), and {memory:.0} bytes for each of those",
        beside / alone
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(protocol: Protocol, count: usize, ours: &[Results], limit: &[Results]) {
    println!("\n{protocol:?}, {count} clients\n\n| | ratebus | limit | ratio |\n|---|---|---|---|");
    for (row, (name, _)) in ours[0].iter().enumerate() {
        let [ours, limit] = [ours, limit].map(|all| median(all.iter().map(|results| results[row].1)));
        let digits = if ours < 100.0 { 2 } else { 0 };
        println!("| {name} | {ours:.digits$} | {limit:.digits$} | {:.2} |", ours / limit);
    }
}
