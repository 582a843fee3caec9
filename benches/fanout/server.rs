//! A server under test: the built binary with a scripted exchange, or the limit.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ratebus_test_exchange::{DEADLINE, Exchange};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{PAIRS, Protocol, limit, usage::Usage};

/// The price of the first change. Each next one is higher by 1, so that a price tells which change it is.
pub(crate) const FIRST: u64 = 1_000_000;

const COINS: [&str; PAIRS as usize] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC", "BCH"];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Ratebus,
    Limit,
}

/// Runs until it is dropped, alone on the first core.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    source: Source,
    /// The number of the next change.
    next: u64,
}

enum Source {
    Exchange {
        runtime: Runtime,
        exchange: Exchange,
        _folder: TempDir,
    },
    /// Frames as the limit has to send them, of messages of this size.
    Frames {
        feed: TcpStream,
        size: usize,
    },
}

impl Server {
    pub(crate) fn start(kind: Kind, protocol: Protocol, size: usize) -> Self {
        let address = free_address();
        let (process, source) = match kind {
            Kind::Ratebus => ratebus(address),
            Kind::Limit => {
                let feed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let mut command = pinned(std::env::current_exe().unwrap().to_str().unwrap());
                command.args([limit::NAME, &address.to_string(), &feed.local_addr().unwrap().to_string()]);
                command.arg(format!("{protocol:?}"));
                let process = command.spawn().unwrap();
                let (feed, _) = feed.accept().unwrap();
                feed.set_nodelay(true).unwrap();
                (process, Source::Frames { feed, size })
            }
        };
        let server = Self { process, address, source, next: 0 };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < DEADLINE, "{kind:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Source::Exchange { runtime, exchange, .. } = &server.source {
            let symbols = COINS.map(|coin| format!("{coin}/USD"));
            runtime.block_on(exchange.wait_subscribed(&symbols.each_ref().map(String::as_str), DEADLINE));
        }
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&self.process)
    }

    /// Makes the next change and returns its number. Pairs take turns.
    pub(crate) fn change(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        let price = FIRST + number;
        match &mut self.source {
            Source::Exchange { exchange, .. } => {
                let coin = COINS[(number % PAIRS) as usize];
                exchange.tick(&format!("{coin}/USD"), &format!("{price}.1"), &format!("{price}.2"));
            }
            Source::Frames { feed, size } => {
                let mut text = format!(r#"{{"original":{price},"more":""#);
                text.extend(std::iter::repeat_n('x', size.saturating_sub(text.len() + 2)));
                text.push_str("\"}");
                feed.write_all(&limit::frame(text.as_bytes())).unwrap();
            }
        }
        number
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ratebus(address: SocketAddr) -> (Child, Source) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let exchange = runtime.block_on(Exchange::start());
    for coin in COINS {
        exchange.list(&format!("{coin}/USD"), "999999.1", "999999.2");
    }
    let folder = tempfile::tempdir().unwrap();
    let pairs = COINS.map(|coin| format!("{coin}_USD"));
    let config = format!(
        r#"
[runtime]
role = "bench"
[log]
filter = "error"
[metrics]
listen = "127.0.0.1:0"
[compat]
pairs = {pairs:?}
[role.bench]
plugins = ["kraken", "spread", "broadcast"]
[plugin.kraken]
use = "source/kraken"
config = {{ endpoint = "{}", pairs = {pairs:?} }}
[plugin.spread]
use = "sink/spread"
config = {{ default = {{ buy = "450", sell = "433" }}, stored = false }}
[plugin.broadcast]
use = "sink/broadcast"
config = {{ listener = "clients", max_clients = 60000, max_clients_per_address = 60000 }}
[listener.clients]
listen = "{address}"
max_connections = 60000
max_connections_per_address = 60000
"#,
        exchange.url()
    );
    let file = folder.path().join("bench.toml");
    std::fs::write(&file, config).unwrap();
    let process = pinned(env!("CARGO_BIN_EXE_ratebus")).arg("--config").arg(&file).spawn().unwrap();
    (process, Source::Exchange { runtime, exchange, _folder: folder })
}

/// `program` on the first core; what it says is not of interest.
fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]).stdout(Stdio::null());
    command
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
