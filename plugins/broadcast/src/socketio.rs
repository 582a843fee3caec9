//! `rates:live` over Socket.IO (protocol 5 on Engine.IO 4), for the original project's clients: one namespace, one event
//! to clients and one from them.

pub(crate) mod packet;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::routing::MethodRouter;
use bytes::Bytes;
use ratebus_sdk::{NoSession, ProblemDocument, SessionPass};
use serde_json::Value;
use tokio::sync::watch;

use self::packet::Body;
use crate::{
    board::Board,
    door::{self, AUTH_TIMEOUT, View},
    ending::Ending,
    engineio::{self, App, Packet, Rules},
    hub::Hub,
    loops::Errand,
    metrics::Meter,
};

/// The path that clients use unless told otherwise.
pub(crate) const PATH: &str = "/socket.io";

const RULES: Rules =
    Rules { ping_interval: Duration::from_secs(25), ping_timeout: Duration::from_secs(20), max_payload: 4096 };
/// How long a connected client may take to join the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// How many requests of a client wait for an answer at most: more than it may send in a second do not.
const ASKS: usize = 10;

/// The route's handler.
pub(crate) fn route(hub: Arc<Hub>, loops: usize) -> MethodRouter {
    engineio::route::<Live>(hub, loops, RULES, Meter::new("socketio"), &Arc::default())
}

/// The newest map as a packet, made by the first client that needs it.
#[derive(Default)]
pub(crate) struct Newest(Mutex<Option<Map>>);

#[derive(Clone)]
struct Map {
    /// Which change of the map this is.
    change: u64,
    packet: Packet,
    /// When that change was put on the board.
    since: Option<Instant>,
}

impl Newest {
    fn get(&self, change: u64, board: &Board) -> Map {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*map {
            Some(map) if map.change >= change => map.clone(),
            _ => {
                let packet = Packet::message(&format!("2[\"rates:live\",{}]", board.live_map()));
                let since = board.read().slots().map(|slot| slot.since).max();
                map.insert(Map { change, packet, since }).clone()
            }
        }
    }
}

/// One client of the event.
pub(crate) struct Live {
    stage: Stage,
    /// Which change of the map it was sent last.
    sent: Option<u64>,
    /// What it has asked for and is not answered yet: its tokens are checked one after the other.
    asks: VecDeque<Ask>,
    /// The check of a token.
    check: Option<Errand>,
    /// Hears of the end of the session, where there is one.
    watch: Option<Errand>,
}

enum Stage {
    /// It has to join until then.
    Outside(Instant),
    Joining,
    Joined,
}

/// To go on with a newer token, and to be told under this number.
struct Ask {
    token: String,
    number: Option<u64>,
}

/// What a token was found to be.
pub(crate) enum Outcome {
    Joins(Result<SessionPass, NoSession>),
    Renews(Option<u64>, Result<SessionPass, ProblemDocument>),
    /// The session has ended, or its token has run out.
    Over,
}

type Desk<'a> = engineio::Desk<'a, Live>;

impl App for Live {
    type Outcome = Outcome;
    type Common = Arc<Newest>;

    fn new(desk: &mut Desk<'_>) -> Self {
        let limit = if let View::Awaited = desk.guest.view { AUTH_TIMEOUT } else { CONNECT_TIMEOUT };
        let mut live = Self {
            stage: Stage::Outside(desk.floor.now + limit),
            sent: None,
            asks: VecDeque::new(),
            check: None,
            watch: None,
        };
        live.watch(desk);
        live
    }

    fn on_text(&mut self, text: &str, desk: &mut Desk<'_>) -> Result<(), Ending> {
        let packet = packet::parse(text).ok_or(Ending::Malformed)?;
        match (packet.body, &self.stage) {
            (Body::Connect(_), _) if packet.namespace != "/" => {
                desk.send(Packet::message(&packet::invalid_namespace(packet.namespace)));
            }
            (Body::Connect(auth), Stage::Outside(_)) => self.join(auth.as_ref(), desk),
            (Body::Connect(_), _) => {}
            (Body::Disconnect, _) if packet.namespace == "/" => return Err(Ending::Left),
            // Requests of a polling client overtake each other: it must be the one that joins, and nothing else.
            (_, Stage::Outside(_)) => return Err(Ending::Malformed),
            (Body::Event { attachments: 1.., .. }, _) => return Err(Ending::Binary),
            (Body::Event { list, number, .. }, _) => {
                if let Some(token) = shown(list.get()) {
                    self.asks.push_back(Ask { token, number });
                    self.renew(desk);
                }
            }
            // Nobody here listens to anything else.
            (Body::Disconnect | Body::Ack, _) => {}
        }
        if self.asks.len() > ASKS { Err(Ending::TooMany) } else { Ok(()) }
    }

    fn on_binary(&mut self, _bytes: Bytes, _desk: &mut Desk<'_>) -> Result<(), Ending> {
        Err(Ending::Binary)
    }

    fn on_outcome(&mut self, outcome: Outcome, desk: &mut Desk<'_>) -> Result<(), Ending> {
        match outcome {
            Outcome::Joins(Ok(pass)) => {
                self.hold(pass, desk);
                self.joined(desk);
            }
            Outcome::Joins(Err(error)) => return refuse(error, desk),
            Outcome::Renews(number, renewed) => {
                self.check = None;
                if let Some(number) = number {
                    let answer = packet::acknowledge(number, renewed.as_ref().map(SessionPass::expires_at));
                    desk.send(Packet::message(&answer));
                }
                if let Ok(pass) = renewed {
                    self.hold(pass, desk);
                }
                self.renew(desk);
            }
            Outcome::Over => {
                desk.send(Packet::message(packet::DISCONNECT));
                return Err(Ending::SessionOver);
            }
        }
        Ok(())
    }

    fn check(&mut self, desk: &mut Desk<'_>) -> Result<(), Ending> {
        match (&self.stage, &desk.guest.view) {
            (Stage::Outside(until), _) if desk.floor.now < *until => Ok(()),
            (Stage::Outside(_), View::Awaited) => refuse(NoSession::Refused, desk),
            (Stage::Outside(_), _) => Err(Ending::Silent),
            (Stage::Joining | Stage::Joined, _) => Ok(()),
        }
    }

    fn due(&self) -> Option<Instant> {
        if let Stage::Outside(until) = self.stage { Some(until) } else { None }
    }

    fn next(&mut self, desk: &mut Desk<'_>) -> Option<Packet> {
        let newest = desk.floor.hub.board.live_change();
        if !matches!(self.stage, Stage::Joined) || self.sent == Some(newest) {
            return None;
        }
        let map = desk.floor.common.1.get(newest, &desk.floor.hub.board);
        let conflated = self.sent.map_or(0, |sent| map.change.saturating_sub(sent + 1));
        self.sent = Some(map.change);
        desk.floor.meter.sent(1, map.packet.len(), conflated);
        desk.floor.since = desk.floor.since.into_iter().chain(map.since).min();
        Some(map.packet)
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        hub.board.live_changes()
    }
}

impl Live {
    /// Lets the client join, at once or once its token has been checked. How long that takes is not the client's.
    fn join(&mut self, auth: Option<&Value>, desk: &mut Desk<'_>) {
        if let View::Open | View::Session(_) = desk.guest.view {
            return self.joined(desk);
        }
        let token = auth.and_then(|auth| auth["token"].as_str()).unwrap_or_default().to_owned();
        let hub = Arc::clone(&desk.floor.hub);
        self.check = Some(desk.send_for(async move { Outcome::Joins(hub.door.check(&token).await) }));
        self.stage = Stage::Joining;
    }

    fn joined(&mut self, desk: &mut Desk<'_>) {
        self.check = None;
        self.stage = Stage::Joined;
        desk.send(Packet::message(&packet::joined(desk.sid)));
        self.renew(desk);
    }

    /// Has the next newer token checked, if none is.
    fn renew(&mut self, desk: &mut Desk<'_>) {
        if self.check.is_none()
            && let Some(Ask { token, number }) = self.asks.pop_front()
        {
            let (hub, view) = (Arc::clone(&desk.floor.hub), desk.guest.view.clone());
            let renewed = async move { Outcome::Renews(number, hub.door.renew(&view, &token).await) };
            self.check = Some(desk.send_for(renewed));
        }
    }

    /// Goes on with another token.
    fn hold(&mut self, pass: SessionPass, desk: &mut Desk<'_>) {
        desk.guest.view = View::Session(pass);
        self.watch(desk);
    }

    /// Listens for the end of the session.
    fn watch(&mut self, desk: &mut Desk<'_>) {
        if let View::Session(pass) = &desk.guest.view {
            let pass = pass.clone();
            let over = async move {
                pass.over().await;
                Outcome::Over
            };
            self.watch = Some(desk.send_for(over));
        }
    }
}

/// Tells the client why it may not join.
fn refuse(error: NoSession, desk: &mut Desk<'_>) -> Result<(), Ending> {
    desk.send(Packet::message(&packet::refused(&door::problem(error))));
    Err(error.into())
}

/// The token of the event `["auth",{"token":"…"}]`, if it is that.
fn shown(event: &str) -> Option<String> {
    let (name, argument) = serde_json::from_str::<(String, Value)>(event).ok()?;
    argument["token"].as_str().filter(|_| name == "auth").map(str::to_owned)
}
