//! Many clients in one thread.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    PAIRS, Protocol,
    server::{FIRST, Server},
};

/// How many handshakes are in flight at once.
const HANDSHAKES: usize = 128;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Frames of a client that say nothing but what they are for: masked with zeros, so that they stay readable.
const JOIN: &[u8] = b"\x81\x82\0\0\0\x0040";
const ENGINE_PONG: &[u8] = b"\x81\x81\0\0\0\x003";
const PONG: &[u8] = b"\x8a\x80\0\0\0\0";

/// When the next change is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flow {
    /// So many a second.
    Paced(u32),
    /// When fewer than this have not yet reached everybody.
    Pending(u64),
}

/// What came of a flow.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) deliveries: u64,
    /// Of the messages delivered.
    pub(crate) bytes: usize,
    pub(crate) lasted: Duration,
    /// Of each delivery, in microseconds.
    pub(crate) delays: Vec<u32>,
}

pub(crate) struct Clients {
    protocol: Protocol,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    all: Vec<Client>,
    ready: usize,
    /// Connections from which nothing is read any more.
    stuck: Vec<Client>,
    ledger: Ledger,
}

/// Which changes have been made, and who has heard of them.
struct Ledger {
    report: Report,
    /// The first change that has not reached everybody.
    first: u64,
    /// From that one on, when each was made, and how many it has reached.
    changes: VecDeque<(Instant, usize)>,
}

struct Client {
    stream: TcpStream,
    stage: Stage,
    /// The beginning of what has not come whole.
    rest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Switching,
    /// Socket.IO: until the namespace is joined.
    Joining,
    Ready,
}

impl Clients {
    pub(crate) fn new(protocol: Protocol, address: SocketAddr) -> Self {
        Self {
            protocol,
            address,
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024],
            all: Vec::new(),
            ready: 0,
            stuck: Vec::new(),
            ledger: Ledger { report: Report::default(), first: 0, changes: VecDeque::new() },
        }
    }

    /// Connects so many clients, which are ready when this returns.
    pub(crate) fn connect(&mut self, count: usize) {
        let started = Instant::now();
        while self.ready < count {
            assert!(started.elapsed() < DEADLINE, "{} of {count} clients are connected", self.ready);
            while self.all.len() < count.min(self.ready + HANDSHAKES) {
                let mut stream = TcpStream::connect(self.address).unwrap();
                let token = Token(self.all.len());
                self.poll.registry().register(&mut stream, token, Interest::WRITABLE).unwrap();
                self.all.push(Client { stream, stage: Stage::Connecting, rest: Vec::new() });
            }
            self.turn(Duration::from_millis(100));
        }
    }

    /// Takes nothing any more for so many of those that came last, who stay connected.
    pub(crate) fn stick(&mut self, count: usize) {
        let mut stuck = self.all.split_off(self.all.len() - count);
        for client in &mut stuck {
            self.poll.registry().deregister(&mut client.stream).unwrap();
        }
        self.ready = self.all.len();
        self.stuck.append(&mut stuck);
    }

    /// Takes what comes for that long.
    pub(crate) fn listen(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(left);
        }
    }

    /// Has the server's rates change for that long, and waits until everybody has heard of it.
    pub(crate) fn run(&mut self, server: &mut Server, flow: Flow, length: Duration) -> Report {
        let started = Instant::now();
        let mut made = 0;
        loop {
            let lasted = started.elapsed();
            if lasted >= length && self.ledger.settle(self.all.len()) {
                return Report { lasted, ..std::mem::take(&mut self.ledger.report) };
            }
            assert!(lasted < length + DEADLINE, "change {} has not reached everybody", self.ledger.first);
            let mut wait = Duration::from_millis(100);
            while started.elapsed() < length {
                let due = match flow {
                    Flow::Pending(most) if (self.ledger.changes.len() as u64) < most => Duration::ZERO,
                    Flow::Pending(_) => break,
                    Flow::Paced(rate) => Duration::from_secs(1) * made / rate,
                };
                if let Some(early) = due.checked_sub(started.elapsed()).filter(|early| !early.is_zero()) {
                    wait = early;
                    break;
                }
                self.ledger.changes.push_back((Instant::now(), 0));
                server.change();
                made += 1;
            }
            self.turn(wait);
        }
    }

    /// Waits for something to come, and takes it.
    fn turn(&mut self, wait: Duration) {
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        for event in &self.events {
            let client = &mut self.all[event.token().0];
            if client.stage == Stage::Connecting {
                client.ask(self.protocol);
                self.poll.registry().reregister(&mut client.stream, event.token(), Interest::READABLE).unwrap();
                continue;
            }
            let before = client.stage;
            client.read(self.protocol, &mut self.buffer, &mut self.ledger);
            if client.stage == Stage::Ready && before != Stage::Ready {
                self.ready += 1;
            }
        }
        self.ledger.close(self.all.len());
    }
}

impl Ledger {
    /// A message, which has come now.
    fn enter(&mut self, text: &[u8]) {
        let Some(number) = price(text).and_then(|price| price.checked_sub(FIRST)) else { return };
        // What was said at the start is none of the changes.
        let Some(index) = number.checked_sub(self.first) else { return };
        let (made, reached) = &mut self.changes[index as usize];
        *reached += 1;
        self.report.deliveries += 1;
        self.report.bytes += text.len();
        self.report.delays.push(made.elapsed().as_micros() as u32);
    }

    /// Whether everybody has the newest of each pair; then all is forgotten. Of what came before it, a client that was behind
    /// need not have had every change.
    fn settle(&mut self, everybody: usize) -> bool {
        let is_settled = self.changes.iter().rev().take(PAIRS as usize).all(|(_, reached)| *reached == everybody);
        if is_settled {
            self.first += self.changes.drain(..).len() as u64;
        }
        is_settled
    }

    /// Forgets what has reached everybody.
    fn close(&mut self, everybody: usize) {
        while self.changes.front().is_some_and(|(_, reached)| *reached == everybody) {
            self.changes.pop_front();
            self.first += 1;
        }
    }
}

impl Client {
    /// Asks for what the protocol starts with.
    fn ask(&mut self, protocol: Protocol) {
        let target = match protocol {
            Protocol::WebSocket => "/v1/ws",
            Protocol::SocketIo => "/socket.io/?EIO=4&transport=websocket&rates=changes",
        };
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.set_nodelay(true).unwrap();
        self.stream.write_all(head.as_bytes()).unwrap();
        self.stage = Stage::Switching;
    }

    /// Takes what is there.
    fn read(&mut self, protocol: Protocol, buffer: &mut [u8], ledger: &mut Ledger) {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => panic!("the server has closed a connection"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a connection broke: {error}"),
            };
            if self.rest.is_empty() {
                let taken = self.take(protocol, &buffer[..length], ledger);
                self.rest.extend_from_slice(&buffer[taken..length]);
            } else {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(&buffer[..length]);
                let taken = self.take(protocol, &all, ledger);
                self.rest.extend_from_slice(&all[taken..]);
            }
            if length < buffer.len() {
                return;
            }
        }
    }

    /// Takes what has come whole, and returns how much that was.
    fn take(&mut self, protocol: Protocol, bytes: &[u8], ledger: &mut Ledger) -> usize {
        let mut taken = 0;
        if self.stage == Stage::Switching {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return 0 };
            assert!(bytes.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(bytes));
            self.stage = if protocol == Protocol::SocketIo { Stage::Joining } else { Stage::Ready };
            taken = end + 4;
        }
        while let Some((opcode, head, length)) = head(&bytes[taken..])
            && let Some(payload) = bytes[taken..].get(head..head + length)
        {
            match (opcode, payload) {
                (1, [b'0', ..]) => self.stream.write_all(JOIN).unwrap(),
                (1, [b'4', b'0', ..]) => self.stage = Stage::Ready,
                (1, b"2") => self.stream.write_all(ENGINE_PONG).unwrap(),
                (1, text) => ledger.enter(text),
                (9, _) => self.stream.write_all(PONG).unwrap(),
                other => panic!("{other:?} was not expected"),
            }
            taken += head + length;
        }
        taken
    }
}

/// The opcode of a frame, the length of its head, and that of its payload (RFC 6455, section 5.2).
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    match *bytes {
        [first, 126, high, low, ..] => Some((first & 0xf, 4, usize::from(u16::from_be_bytes([high, low])))),
        [_, 126 | 127, ..] | [] | [_] => None,
        [first, length, ..] => Some((first & 0xf, 2, usize::from(length))),
    }
}

/// The whole part of the price, which comes first after the key that all servers have it under.
fn price(text: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"original\"";
    let rest = &text[text.windows(KEY.len()).position(|part| part == KEY)?..];
    let digits = rest.iter().skip_while(|byte| !byte.is_ascii_digit()).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |price, digit| price * 10 + u64::from(digit - b'0')))
}
