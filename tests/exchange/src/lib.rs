//! A scripted exchange for tests: it speaks over real sockets, with or without TLS, as Kraken or another [`Protocol`]
//! does, and does on command what real exchanges do at their worst.
//!
//! ```no_run
//! # async fn example() {
//! use ratebus_test_exchange::{DEADLINE, Exchange};
//!
//! let exchange = Exchange::start().await;
//! exchange.list("BTC/USD", "81413.2", "81413.3");
//! // … let the source under test connect to exchange.url() …
//! exchange.wait_subscribed(&["BTC/USD"], DEADLINE).await;
//! exchange.tick("BTC/USD", "81414.0", "81414.1");
//! # }
//! ```
//!
//! [`HttpExchange`] is one that is asked over HTTP: what it answers is up to the test.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what fails must fail the test"
)]

mod client;
mod http;
mod port;
mod protocol;
mod state;
mod tls;

use std::{sync::Arc, time::Duration};

use time::{OffsetDateTime, macros::format_description};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    client::serve,
    port::Port,
    state::{Command, Shared, State},
};
pub use crate::{
    http::{Asked, HttpExchange, Reply},
    protocol::{Binance, Bitstamp, Coinbase, Kind, Kraken, Okx, Protocol, Request},
    state::{Answer, Listing},
    tls::TestCa,
};

/// Long enough for any wait on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The exchange. Its connections end when it is dropped.
pub struct Exchange {
    port: Port,
    protocol: &'static dyn Protocol,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl Exchange {
    /// Kraken without TLS on a free port of this host.
    pub async fn start() -> Self {
        Self::start_as(&Kraken).await
    }

    /// An exchange that speaks `protocol`, without TLS.
    pub async fn start_as(protocol: &'static dyn Protocol) -> Self {
        Self::start_on(0, protocol).await
    }

    /// As [`Exchange::start_as`], on a port of one's choice.
    pub async fn start_on(port: u16, protocol: &'static dyn Protocol) -> Self {
        Self::start_with(port, protocol, None).await
    }

    /// Kraken, which proves itself by a certificate for `names`, issued by `ca`.
    pub async fn start_tls(ca: &TestCa, names: &[&str]) -> Self {
        Self::start_with(0, &Kraken, Some(ca.acceptor(names, false))).await
    }

    /// As [`Exchange::start_tls`], with a certificate that ran out long ago.
    pub async fn start_tls_expired(ca: &TestCa, names: &[&str]) -> Self {
        Self::start_with(0, &Kraken, Some(ca.acceptor(names, true))).await
    }

    async fn start_with(port: u16, protocol: &'static dyn Protocol, tls: Option<TlsAcceptor>) -> Self {
        let port = Port::take(port);
        let listener = port.listen().await;
        let mut exchange = Self { port, protocol, tls, shared: Arc::new(Shared::new(protocol)), server: None };
        exchange.accept(listener);
        exchange
    }

    fn accept(&mut self, listener: TcpListener) {
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        self.server = Some(tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(welcome(stream, tls.clone(), Arc::clone(&shared)));
                while clients.try_join_next().is_some() {}
            }
        }));
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.port.address(), self.protocol.path())
    }

    /// Lists a pair, or sets its price without telling anybody. Pairs that are not listed are refused.
    pub fn list(&self, symbol: &str, bid: &str, ask: &str) {
        let listing = Listing { bid: bid.to_owned(), ask: ask.to_owned(), timestamp: now() };
        self.shared.change(|state| state.listings.insert(symbol.to_owned(), listing));
    }

    /// Sets a pair's price and tells its subscribers.
    pub fn tick(&self, symbol: &str, bid: &str, ask: &str) {
        self.tick_at(symbol, bid, ask, &now());
    }

    /// As [`Exchange::tick`], with the exchange's own time.
    pub fn tick_at(&self, symbol: &str, bid: &str, ask: &str, timestamp: &str) {
        let listing = Listing { bid: bid.to_owned(), ask: ask.to_owned(), timestamp: timestamp.to_owned() };
        let frame = self.protocol.ticker(false, symbol, &listing);
        self.shared.change(|state| {
            state.listings.insert(symbol.to_owned(), listing);
            for client in state.clients.values().filter(|client| client.subscribed.contains(symbol)) {
                client.order(Command::Text(frame.clone()));
            }
        });
    }

    /// Tells everybody a pair's price, whether they asked for it or not.
    pub fn shout(&self, symbol: &str, bid: &str, ask: &str) {
        let listing = Listing { bid: bid.to_owned(), ask: ask.to_owned(), timestamp: now() };
        self.send_text(&self.protocol.ticker(false, symbol, &listing));
    }

    /// How subscriptions to a pair are answered from now on.
    pub fn answer(&self, symbol: &str, answer: Answer) {
        self.shared.change(|state| state.answers.insert(symbol.to_owned(), answer));
    }

    /// Loses everybody's subscription to a pair without a word: no more updates until it is asked for again.
    pub fn forget(&self, symbol: &str) {
        self.shared.change(|state| {
            for client in state.clients.values_mut() {
                client.subscribed.remove(symbol);
            }
        });
    }

    /// Sets the state of the market (`online`, `maintenance`, …) and tells everybody.
    pub fn status(&self, system: &str) {
        self.shared.change(|state| system.clone_into(&mut state.system));
        if let Some(greeting) = self.protocol.greeting(system) {
            self.send_text(&greeting);
        }
    }

    /// How often subscribers get a heartbeat, or never. Every second at first.
    pub fn heartbeats(&self, every: Option<Duration>) {
        self.shared.change(|state| state.heartbeat = every);
        self.order(&Command::Look);
    }

    /// Sends a text frame to everybody.
    pub fn send_text(&self, text: &str) {
        self.order(&Command::Text(text.to_owned()));
    }

    /// Sends a text frame that need not be UTF-8 to everybody.
    pub fn send_raw_text(&self, bytes: &[u8]) {
        self.order(&Command::RawText(bytes.to_vec()));
    }

    /// Sends a binary frame to everybody.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.order(&Command::Binary(bytes.to_vec()));
    }

    /// Leaves the connections of now open, and neither reads nor writes on them ever again.
    pub fn hang(&self) {
        self.order(&Command::Hang);
    }

    /// Closes every connection with a code (RFC 6455, section 7.4).
    pub fn close(&self, code: u16) {
        self.order(&Command::Close(code));
    }

    /// Resets every connection: a TCP RST in the middle of everything.
    pub fn reset(&self) {
        self.order(&Command::Reset);
    }

    /// Refuses every handshake from now on with an HTTP status and perhaps a `Retry-After` in seconds; `None` lets them
    /// in again.
    pub fn refuse_handshakes(&self, refusal: Option<(u16, Option<u64>)>) {
        self.shared.change(|state| state.refusal = refusal);
    }

    /// Stops listening and drops every connection.
    pub async fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // It was aborted, which is no failure.
            drop(server.await);
        }
        self.shared.change(|state| state.clients.clear());
    }

    /// Listens again on the same port.
    pub async fn come_back(&mut self) {
        let listener = self.port.listen().await;
        self.accept(listener);
    }

    /// How many connections were tried so far, refused ones included.
    pub fn attempts(&self) -> usize {
        self.shared.read(|state| state.attempts)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.read(|state| state.clients.len())
    }

    /// The text frames received so far, on all connections.
    pub fn received(&self) -> Vec<String> {
        self.shared.read(|state| state.received.clone())
    }

    /// Waits until one connection has subscribed to all of `symbols`.
    pub async fn wait_subscribed(&self, symbols: &[&str], deadline: Duration) {
        let holds = |state: &State| {
            state.clients.values().any(|client| symbols.iter().all(|&symbol| client.subscribed.contains(symbol)))
        };
        self.wait(&format!("a subscription to {symbols:?}"), deadline, holds).await;
    }

    /// Waits until this many connections have been tried.
    pub async fn wait_attempts(&self, attempts: usize, deadline: Duration) {
        self.wait(&format!("attempt {attempts}"), deadline, |state| state.attempts >= attempts).await;
    }

    /// Waits until as many text frames as `count` that `wanted` accepts have been received.
    pub async fn wait_received(&self, count: usize, wanted: impl Fn(&str) -> bool, deadline: Duration) {
        let holds = |state: &State| state.received.iter().filter(|text| wanted(text)).count() >= count;
        self.wait(&format!("{count} such frames"), deadline, holds).await;
    }

    async fn wait(&self, what: &str, deadline: Duration, holds: impl Fn(&State) -> bool) {
        let mut changes = self.shared.changes();
        let held = async {
            while !self.shared.read(&holds) {
                changes.changed().await.unwrap();
            }
        };
        assert!(timeout(deadline, held).await.is_ok(), "not within {deadline:?}: {what}");
    }

    fn order(&self, command: &Command) {
        self.shared.change(|state| {
            for client in state.clients.values() {
                client.order(command.clone());
            }
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn welcome(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    shared.change(|state| state.attempts += 1);
    stream.set_nodelay(true).unwrap();
    let control = socket2::SockRef::from(&stream).try_clone().unwrap();
    match tls {
        None => serve(stream, control, &shared).await,
        // A client that refuses the certificate is what some tests are about.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, control, &shared).await;
            }
        }
    }
}

/// Kraken's form: RFC 3339 in UTC, to the microsecond.
fn now() -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::now_utc().format(&form).unwrap()
}
