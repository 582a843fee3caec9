//! `rates:live` over Socket.IO (protocol 5 on Engine.IO 4, and 4 on 3), for the original project's clients: one namespace,
//! one event to clients, and from them what clients of a plain WebSocket ask for.

mod feed;
pub(crate) mod packet;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::routing::MethodRouter;
use bytes::Bytes;
use ratebus_sdk::{NoSession, ProblemDocument, SessionPass};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::watch;

pub(crate) use self::feed::Rates;
use self::{
    feed::{Feed, Shared, Wish},
    packet::Body,
};
use crate::{
    batches::Batch,
    board::Board,
    config::Config,
    cursor::TooManyPatterns,
    door::{self, AUTH_TIMEOUT, View},
    ending::Ending,
    engineio::{self, App, Packet, Rules, Version},
    hub::Hub,
    loops::Errand,
    metrics::Meter,
    pace::Pace,
    request::{self, Asked, Op, too_many_patterns, unknown_pairs},
};

/// The path that clients use unless told otherwise.
pub(crate) const PATH: &str = "/socket.io";

const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest message of a client.
const MAX_PAYLOAD: usize = 4096;
/// How long a connected client may take to join the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// How many requests of a client wait for an answer at most: more than it may send in a second do not.
const ASKS: usize = 10;

/// The route's handler.
pub(crate) fn route(hub: Arc<Hub>, config: &Config) -> MethodRouter {
    let rules = Rules {
        ping_interval: PING_INTERVAL,
        ping_timeout: PING_TIMEOUT,
        max_payload: MAX_PAYLOAD,
        takes_v3: config.socketio_eio3,
    };
    engineio::route::<Live>(hub, config.loops, rules, Meter::new("socketio"), &Shared::new(config.socketio_rates))
}

/// One client of the event.
pub(crate) struct Live {
    stage: Stage,
    wish: Wish,
    pace: Pace,
    /// How many messages of bytes are to come that belong to what it sent last.
    attachments: usize,
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
    Joined(Feed),
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
    type Common = Shared;
    type Wish = Wish;

    fn new(wish: Wish, desk: &mut Desk<'_>) -> Self {
        let limit = if let View::Awaited = desk.guest.view { AUTH_TIMEOUT } else { CONNECT_TIMEOUT };
        let pace = Pace::new([desk.floor.hub.max_rate, wish.max_rate()], desk.floor.now);
        let mut live = Self {
            stage: Stage::Outside(desk.floor.now + limit),
            wish,
            pace,
            attachments: 0,
            asks: VecDeque::new(),
            check: None,
            watch: None,
        };
        live.watch(desk);
        if desk.version != Version::V4 {
            // They have joined the default namespace as they come.
            live.join(None, desk);
        }
        live
    }

    fn on_text(&mut self, text: &str, desk: &mut Desk<'_>) -> Result<(), Ending> {
        let packet = packet::parse(text).filter(|_| self.attachments == 0).ok_or(Ending::Malformed)?;
        self.attachments = packet.attachments;
        match (packet.body, &self.stage) {
            (Body::Connect(_), _) if packet.namespace != "/" => {
                desk.send(Packet::message(&packet::invalid_namespace(packet.namespace)));
            }
            (Body::Connect(auth), Stage::Outside(_)) => self.join(auth.as_ref(), desk),
            (Body::Connect(_), _) => {}
            (Body::Disconnect, _) if packet.namespace == "/" => return Err(Ending::Left),
            // Requests of a polling client overtake each other: it must be the one that joins, and nothing else.
            (_, Stage::Outside(_) | Stage::Joining) => return Err(Ending::Malformed),
            (Body::Event { list, number }, _) => self.on_event(list, number, desk),
            // Nobody here listens to anything else.
            (Body::Disconnect | Body::Ack, _) => {}
        }
        if self.asks.len() > ASKS { Err(Ending::TooMany) } else { Ok(()) }
    }

    /// Nobody here wants bytes: those of an event are let go, and others are out of place.
    fn on_binary(&mut self, _bytes: Bytes, _desk: &mut Desk<'_>) -> Result<(), Ending> {
        self.attachments = self.attachments.checked_sub(1).ok_or(Ending::Binary)?;
        Ok(())
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
                let answer = match &renewed {
                    Ok(pass) => json!({ "expiresAt": pass.expires_at() }),
                    Err(error) => json!({ "error": error }),
                };
                acknowledge(number, &answer, desk);
                if let Ok(pass) = renewed {
                    self.hold(pass, desk);
                }
                self.renew(desk);
            }
            Outcome::Over if !desk.guest.view.is_over() => {}
            Outcome::Over => {
                desk.send(Packet::message(packet::DISCONNECT));
                return Err(Ending::SessionOver);
            }
        }
        Ok(())
    }

    fn check(&mut self, desk: &mut Desk<'_>) -> Result<(), Ending> {
        // What was waited for is over, though the connection may take nothing now.
        self.pace.allows(desk.floor.now);
        match (&self.stage, &desk.guest.view) {
            (Stage::Outside(until), _) if desk.floor.now < *until => Ok(()),
            (Stage::Outside(_), View::Awaited) => refuse(NoSession::Refused, desk),
            (Stage::Outside(_), _) => Err(Ending::Silent),
            (Stage::Joining | Stage::Joined(_), _) => Ok(()),
        }
    }

    fn due(&self) -> Option<Instant> {
        if let Stage::Outside(until) = self.stage { Some(until) } else { self.pace.due() }
    }

    fn next(&mut self, desk: &mut Desk<'_>) -> Option<Packet> {
        let Stage::Joined(feed) = &mut self.stage else { return None };
        let floor = &mut *desk.floor;
        if !self.pace.allows(floor.now) && !feed.begins() {
            return None;
        }
        let Batch { bytes, quotes, conflated, has_more, since, .. } =
            feed.next(&mut floor.common.1, &floor.hub.board)?;
        desk.guest.sent(quotes, conflated);
        floor.tally.sent(quotes, bytes.len(), conflated);
        floor.tally.joined(quotes);
        if !has_more {
            self.pace.sent(floor.now);
        }
        floor.since = floor.since.into_iter().chain(since.filter(|_| !self.pace.is_limited())).min();
        Some(Packet::from_frames(bytes))
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

    /// The client has joined, unless it wants what nobody serves: then it may come again.
    fn joined(&mut self, desk: &mut Desk<'_>) {
        self.check = None;
        let (feed, unknown) = Feed::new(&self.wish, &desk.floor.common.1, &desk.floor.hub.board);
        if unknown.is_empty() {
            self.stage = Stage::Joined(feed);
            let joined = match desk.version {
                Version::V4 => packet::joined(desk.sid),
                Version::V3 { .. } => packet::JOINED.to_owned(),
            };
            desk.send(Packet::message(&joined));
        } else {
            self.stage = Stage::Outside(desk.floor.now + CONNECT_TIMEOUT);
            desk.send(Packet::message(&packet::refused(&unknown_pairs(&unknown))));
        }
    }

    /// An event of the client, which is acknowledged if it has a number. Those that nobody listens to are not.
    fn on_event(&mut self, list: &RawValue, number: Option<u64>, desk: &mut Desk<'_>) {
        let Some(op) = asked(list) else { return };
        let answer = match (op, &mut self.stage) {
            (Ok(Op::Auth(token)), _) => {
                self.asks.push_back(Ask { token, number });
                return self.renew(desk);
            }
            (Ok(Op::Subscribe(asked)), Stage::Joined(feed)) => subscribe(feed, &asked, &desk.floor.hub.board),
            (Ok(Op::Unsubscribe(asked)), Stage::Joined(feed)) => {
                feed.unsubscribe(&desk.floor.hub.board, &asked.patterns().collect::<Vec<_>>());
                json!(feed.subscribed(&desk.floor.hub.board))
            }
            (Err(error), _) => json!({ "error": error }),
            (Ok(_), _) => return,
        };
        acknowledge(number, &answer, desk);
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

/// Adds the pairs that somebody serves, and tells which they are now.
fn subscribe(feed: &mut Feed, asked: &Asked, board: &Board) -> Value {
    let (known, unknown) = asked.known(board);
    if let Err(TooManyPatterns) = feed.subscribe(board, &known) {
        return json!({ "error": too_many_patterns() });
    }
    let mut answer = json!(feed.subscribed(board));
    if !unknown.is_empty() {
        answer["error"] = json!(unknown_pairs(&unknown));
    }
    answer
}

/// What an event asks for: its name is that of an operation of a plain WebSocket, its argument has what that has.
fn asked(event: &RawValue) -> Option<Result<Op, ProblemDocument>> {
    let mut list = serde_json::from_str::<VecDeque<Value>>(event.get()).ok()?;
    let name = list.pop_front()?;
    if !["auth", "subscribe", "unsubscribe"].contains(&name.as_str()?) {
        return None;
    }
    let mut request = list.pop_front().filter(Value::is_object).unwrap_or_else(|| json!({}));
    request["op"] = name;
    Some(request::parse(&request.to_string()).1)
}

fn acknowledge(number: Option<u64>, argument: &Value, desk: &mut Desk<'_>) {
    if let Some(number) = number {
        desk.send(Packet::message(&packet::acknowledge(number, argument)));
    }
}
