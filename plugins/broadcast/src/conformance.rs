//! Handlers for the official suites: the same engine as the live routes, with what the suites expect to be answered.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, Request},
    http::StatusCode,
    routing::any,
};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use ratebus_sdk::{Context, Routes};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    board::Board,
    codec::{self, Incoming, Opcode},
    door::{Access, Door},
    ending::Ending,
    engineio::{self, App, Desk, Packet, Rules},
    handshake::Handshake,
    hub::Hub,
    leave::Leave,
    link::Link,
    loops::{self, Cause, Chair, Floor, Loops},
    metrics::Meter,
    places::Places,
    socketio::packet::{self, Body},
};

const RULES: Rules = Rules {
    ping_interval: Duration::from_millis(300),
    ping_timeout: Duration::from_millis(200),
    max_payload: 1_000_000,
    takes_v3: true,
};
/// What Autobahn sends at most.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const CLIENTS: u32 = 10_000;

/// `/engine.io/` echoes, `/socket.io/` does what its suite says, `/` is a WebSocket that echoes.
pub fn routes(ctx: &Context) -> Routes {
    let stop = ctx.cancel_token().child_token();
    let door = Door::new(ctx.clone(), Access::Public, Places::new(CLIENTS, CLIENTS, CLIENTS), stop.clone());
    let hub = Arc::new(Hub {
        board: Board::new(),
        door,
        stall_timeout: Duration::from_secs(30),
        max_rate: 0,
        stop,
        leave: Leave::default(),
    });
    // The suites take no other answer.
    let bad = async || StatusCode::BAD_REQUEST;
    let engine = engineio::route::<Echo>(Arc::clone(&hub), 2, RULES, Meter::new("engineio"), &());
    let socket = engineio::route::<Namespaces>(Arc::clone(&hub), 2, RULES, Meter::new("socketio"), &());
    let meter = Meter::new("websocket");
    let loops = Arc::new(Loops::<EchoSocket>::start(2, &hub, &meter, || ()));
    let echo = any(async move |request: Request| {
        let (mut parts, _) = request.into_parts();
        let (response, on_upgrade) = Handshake::from_request_parts(&mut parts, &()).await?.accept();
        tokio::spawn(async move {
            if let Ok(io) = on_upgrade.await {
                loops.join(io).await;
            }
        });
        Ok::<_, axum::response::Response>(response)
    });
    let routes = Routes::new().route("/engine.io/", engine.fallback(bad)).route("/socket.io/", socket.fallback(bad));
    routes.route("/", echo)
}

/// Sends back what it gets.
struct Echo;

impl App for Echo {
    type Outcome = Infallible;
    type Common = ();
    type Wish = ();

    fn new((): (), _desk: &mut Desk<'_, Self>) -> Self {
        Self
    }

    fn on_text(&mut self, text: &str, desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        desk.send(Packet::message(text));
        Ok(())
    }

    fn on_binary(&mut self, bytes: Bytes, desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        desk.send(Packet::binary(&bytes));
        Ok(())
    }

    fn on_outcome(&mut self, outcome: Infallible, _desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        match outcome {}
    }

    fn check(&mut self, _desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn next(&mut self, _desk: &mut Desk<'_, Self>) -> Option<Packet> {
        None
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        hub.board.live_changes()
    }
}

/// Two namespaces that tell who joins its `auth`, send back the event `message`, and acknowledge `message-with-ack` with
/// its arguments, bytes included.
struct Namespaces {
    joined: BTreeSet<String>,
    /// Until when it has to be in one.
    until: Option<Instant>,
    partial: Option<Partial>,
}

/// An event whose attachments have not all come.
struct Partial {
    answer: String,
    missing: usize,
    bytes: Vec<Bytes>,
}

impl App for Namespaces {
    type Outcome = Infallible;
    type Common = ();
    type Wish = ();

    fn new((): (), desk: &mut Desk<'_, Self>) -> Self {
        Self { joined: BTreeSet::new(), until: Some(desk.floor.now + CONNECT_TIMEOUT), partial: None }
    }

    fn on_text(&mut self, text: &str, desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        let packet = packet::parse(text).filter(|_| self.partial.is_none()).ok_or(Ending::Malformed)?;
        let packet::Packet { namespace, attachments, body } = packet;
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        match body {
            Body::Connect(auth) if ["/", "/custom"].contains(&namespace) => {
                self.joined.insert(namespace.to_owned());
                self.until = None;
                desk.send(Packet::message(&format!("0{prefix}{}", json!({ "sid": desk.sid }))));
                let event = json!(["auth", auth.unwrap_or_else(|| json!({}))]);
                desk.send(Packet::message(&format!("2{prefix}{event}")));
            }
            Body::Connect(_) => desk.send(Packet::message(&packet::invalid_namespace(namespace))),
            _ if !self.joined.contains(namespace) => return Err(Ending::Malformed),
            Body::Disconnect => {
                self.joined.remove(namespace);
                self.until = self.joined.is_empty().then(|| desk.floor.now + CONNECT_TIMEOUT);
            }
            Body::Event { list, number } => {
                let mut list: Vec<Value> = serde_json::from_str(list.get()).map_err(|_| Ending::Malformed)?;
                let (kind, number) = match (list[0].as_str(), number) {
                    (Some("message"), _) => {
                        list[0] = json!("message-back");
                        (2, String::new())
                    }
                    (Some("message-with-ack"), Some(number)) => {
                        list.remove(0);
                        (3, number.to_string())
                    }
                    _ => return Ok(()),
                };
                let list = json!(list);
                if attachments == 0 {
                    desk.send(Packet::message(&format!("{kind}{prefix}{number}{list}")));
                } else {
                    let answer = format!("{}{attachments}-{prefix}{number}{list}", kind + 3);
                    self.partial = Some(Partial { answer, missing: attachments, bytes: Vec::new() });
                }
            }
            Body::Ack => {}
        }
        Ok(())
    }

    fn on_binary(&mut self, bytes: Bytes, desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        let mut partial = self.partial.take().ok_or(Ending::Malformed)?;
        partial.bytes.push(bytes);
        if partial.bytes.len() < partial.missing {
            self.partial = Some(partial);
            return Ok(());
        }
        desk.send(Packet::message(&partial.answer));
        for bytes in partial.bytes {
            desk.send(Packet::binary(&bytes));
        }
        Ok(())
    }

    fn on_outcome(&mut self, outcome: Infallible, _desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        match outcome {}
    }

    fn check(&mut self, desk: &mut Desk<'_, Self>) -> Result<(), Ending> {
        if self.until.is_some_and(|until| desk.floor.now >= until) { Err(Ending::Silent) } else { Ok(()) }
    }

    fn due(&self) -> Option<Instant> {
        self.until
    }

    fn next(&mut self, _desk: &mut Desk<'_, Self>) -> Option<Packet> {
        None
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        hub.board.live_changes()
    }
}

/// A WebSocket that echoes.
struct EchoSocket {
    link: Link,
    closing: Option<(Ending, Instant)>,
    end: Instant,
}

impl loops::Client for EchoSocket {
    type Newcomer = Upgraded;
    type Call = Infallible;
    type Outcome = Infallible;
    type Common = ();

    fn new(io: Upgraded, chair: Chair, floor: &Floor<Self>) -> Self {
        let end = floor.now + Duration::from_mins(10);
        Self { link: Link::new(io, chair.waker, MAX_MESSAGE), closing: None, end }
    }

    fn turn(&mut self, _cause: Cause<Self>, floor: &mut Floor<Self>) -> Option<Ending> {
        if self.closing.is_none() {
            let ending = self.hear(floor).err()?;
            self.closing = Some((ending, floor.now + CLOSE_TIMEOUT));
            if let Some(frame) = ending.close_frame() {
                let _ = self.link.send(&frame);
            }
        }
        let (ending, until) = self.closing?;
        (floor.now >= until || self.link.drain(&mut floor.buffer).is_err()).then_some(ending)
    }

    fn due(&self, _floor: &Floor<Self>) -> Instant {
        self.closing.map_or(self.end, |(_, until)| until)
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        hub.board.changes()
    }
}

impl EchoSocket {
    fn hear(&mut self, floor: &mut Floor<Self>) -> Result<(), Ending> {
        self.link.flush()?;
        while self.link.is_clear() {
            let Some(incoming) = self.link.receive(&mut floor.buffer)? else { break };
            let answer = match incoming {
                Incoming::Text(text) => codec::encode(Opcode::Text, text.as_bytes()),
                Incoming::Binary(bytes) => codec::encode(Opcode::Binary, &bytes),
                Incoming::Ping(payload) => codec::encode(Opcode::Pong, &payload),
                Incoming::Pong => continue,
                Incoming::Close(code) => {
                    let code = code.map(u16::to_be_bytes);
                    self.link.send(&codec::encode(Opcode::Close, code.as_ref().map_or(&[], |code| &code[..])))?;
                    return Err(Ending::Left);
                }
            };
            self.link.send(&answer)?;
        }
        Ok(())
    }
}
