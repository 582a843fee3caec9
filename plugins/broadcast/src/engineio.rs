//! Sessions of Engine.IO 4, and of version 3 where that is wanted, over polling and WebSocket.
//!
//! A session belongs to a loop whatever it comes over: what requests bring is handed to the loop, so that nothing of a
//! session is shared. What is said in it is the business of an [`App`].

mod app;
mod heartbeat;
mod http;
mod packet;
mod probe;
mod sid;
mod version;

use std::{
    collections::VecDeque,
    hint::black_box,
    mem,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use ratebus_sdk::{AttemptBudget, BodyError};
use tokio::sync::{oneshot, watch};

pub(crate) use self::{
    app::{App, Desk, Rules},
    http::route,
    packet::Packet,
    version::Version,
};
use self::{heartbeat::Heartbeat, packet::Received, probe::Probe, version::Payload};
use crate::{
    codec::{self, Incoming, Opcode},
    door::Guest,
    ending::Ending,
    hub::Hub,
    link::{Link, Lost},
    loops::{self, Chair, Name},
};

/// How many packets, or frames of a WebSocket, a client may send per second.
const PACKETS_PER_SECOND: usize = 10;
/// How many answers may wait for a client that does not poll.
const QUEUE: usize = 32;
/// How long a polling client has to fetch what it was told last, or to go on over its WebSocket.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the closing handshake of a WebSocket may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

type Floor<A> = loops::Floor<Session<A>>;

/// A session to be.
pub(crate) struct Newcomer<W> {
    /// So that nobody guesses the session's id.
    secret: [u8; 16],
    guest: Guest,
    over: Over,
    version: Version,
    wish: W,
}

/// What a session begins over.
enum Over {
    /// The answer to the request that asked for it.
    Polling(oneshot::Sender<Payload>),
    WebSocket(Upgraded),
}

/// A request for the session that it names.
pub(crate) struct Call {
    sid: String,
    request: Request,
}

enum Request {
    Poll(oneshot::Sender<Payload>),
    /// To be told whether it could be read.
    Post(Bytes, oneshot::Sender<bool>),
    /// A body that did not come.
    Unread(BodyError),
    Upgrade(Upgraded),
}

/// One client.
pub(crate) struct Session<A: App> {
    name: Name,
    waker: Waker,
    sid: Box<str>,
    version: Version,
    guest: Guest,
    transport: Transport,
    /// A WebSocket that is to take over.
    probe: Option<Box<Probe>>,
    queue: VecDeque<Packet>,
    budget: AttemptBudget,
    heartbeat: Heartbeat,
    stage: Stage,
    /// What the app is made of, until the first turn.
    wish: A::Wish,
    app: Option<A>,
}

enum Transport {
    /// With the request that waits for something to be sent.
    Polling(Option<oneshot::Sender<Payload>>),
    WebSocket(Box<Link>),
}

#[derive(Clone, Copy)]
enum Stage {
    Open,
    /// It polls, and has to fetch what it was told last, or to be told over the WebSocket that takes over.
    Leaving(Ending, Instant),
    /// It was told over its WebSocket.
    Closing(Ending, Instant),
}

impl<A: App> loops::Client for Session<A> {
    type Newcomer = Newcomer<A::Wish>;
    type Call = Call;
    type Outcome = A::Outcome;
    type Common = (Rules, A::Common);

    fn new(newcomer: Newcomer<A::Wish>, chair: Chair, floor: &Floor<A>) -> Self {
        let Chair { name, waker } = chair;
        let (rules, _) = &floor.common;
        let sid = sid::make(name, newcomer.secret);
        let transport = match newcomer.over {
            Over::Polling(answer) => Transport::Polling(Some(answer)),
            Over::WebSocket(io) => Transport::WebSocket(Box::new(Link::new(io, waker.clone(), rules.max_payload))),
        };
        let upgrades = if let Transport::Polling(_) = transport { r#"["websocket"]"# } else { "[]" };
        let open = format!(
            r#"0{{"sid":"{sid}","upgrades":{upgrades},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            rules.ping_interval.as_millis(),
            rules.ping_timeout.as_millis(),
            rules.max_payload
        );
        Self {
            name,
            waker,
            sid: sid.into(),
            version: newcomer.version,
            guest: newcomer.guest,
            transport,
            probe: None,
            queue: [Packet::text(&open)].into(),
            budget: AttemptBudget::new(PACKETS_PER_SECOND, Duration::from_secs(1)),
            heartbeat: Heartbeat::new(newcomer.version, rules, floor.now),
            stage: Stage::Open,
            wish: newcomer.wish,
            app: None,
        }
    }

    fn turn(&mut self, cause: loops::Cause<Self>, floor: &mut Floor<A>) -> Option<Ending> {
        match self.stage {
            Stage::Open => {
                let done = self.step(cause, floor);
                if let Transport::WebSocket(link) = &self.transport {
                    self.guest.owes(link.pending(), floor.now);
                }
                match done {
                    Ok(()) => None,
                    Err(ending) => self.close(ending, floor),
                }
            }
            Stage::Leaving(ending, until) => {
                if self.changes_over(floor) {
                    return self.close(ending, floor);
                }
                (self.has_left(cause, ending) || floor.now >= until).then_some(ending)
            }
            Stage::Closing(ending, until) => {
                let Transport::WebSocket(link) = &mut self.transport else { return Some(ending) };
                (floor.now >= until || link.drain(&mut floor.buffer).is_err()).then_some(ending)
            }
        }
    }

    fn glance(&mut self) {
        self.guest.glance();
        if let Transport::WebSocket(link) = &mut self.transport {
            link.glance();
        }
        black_box((matches!(self.stage, Stage::Open), self.queue.is_empty(), self.heartbeat.at));
        black_box(self.app.as_ref().and_then(App::due));
    }

    fn due(&self, floor: &Floor<A>) -> Instant {
        if let Stage::Leaving(_, until) | Stage::Closing(_, until) = self.stage {
            return until;
        }
        let stall = match &self.transport {
            Transport::WebSocket(link) => link.stalls_at(floor.hub.stall_timeout),
            Transport::Polling(_) => None,
        };
        let upgrade = self.probe.as_ref().map(|probe| probe.until);
        let app = self.app.as_ref().and_then(App::due);
        [stall, upgrade, app].into_iter().flatten().fold(self.heartbeat.at, Instant::min)
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        A::news(hub)
    }
}

impl<A: App> Session<A> {
    fn step(&mut self, cause: loops::Cause<Self>, floor: &mut Floor<A>) -> Result<(), Ending> {
        if let loops::Cause::News = cause {
            return self.send_news(floor);
        }
        self.check(floor)?;
        match cause {
            loops::Cause::Call(call) if *call.sid == *self.sid => self.on_request(call.request, floor)?,
            loops::Cause::Done(outcome) => self.with_app(floor, |app, desk| app.on_outcome(outcome, desk))?,
            loops::Cause::Stop => return Err(Ending::Stopping),
            _ => {}
        }
        loop {
            let heard_all = self.hear(floor)?;
            self.send_news(floor)?;
            if heard_all || !self.listens() {
                return Ok(());
            }
        }
    }

    /// Has the app do something, which is there from the first turn on.
    fn with_app<T>(&mut self, floor: &mut Floor<A>, act: impl FnOnce(&mut A, &mut Desk<'_, A>) -> T) -> T {
        let (sid, guest, queue) = (&*self.sid, &mut self.guest, &mut self.queue);
        let mut desk = Desk { sid, version: self.version, guest, floor, name: self.name, queue };
        let app = self.app.get_or_insert_with(|| A::new(mem::take(&mut self.wish), &mut desk));
        act(app, &mut desk)
    }

    fn check(&mut self, floor: &mut Floor<A>) -> Result<(), Ending> {
        let (rules, _) = floor.common;
        if self.probe.as_ref().is_some_and(|probe| floor.now >= probe.until) {
            self.probe = None;
        }
        let stalls_at = match &self.transport {
            Transport::WebSocket(link) => link.stalls_at(floor.hub.stall_timeout),
            Transport::Polling(_) => None,
        };
        if stalls_at.is_some_and(|stalls_at| floor.now >= stalls_at) {
            return Err(Ending::Stalled);
        }
        let Heartbeat { at, is_asked } = self.heartbeat;
        if floor.now >= at {
            self.heartbeat = match (is_asked, stalls_at) {
                // Who still has something to take is asked for that.
                (_, Some(_)) => Heartbeat::new(self.version, &rules, floor.now),
                (true, None) => return Err(Ending::Silent),
                (false, None) => {
                    self.queue.push_back(Packet::ping());
                    Heartbeat { at: at + rules.ping_timeout, is_asked: true }
                }
            };
            // It may be long past, if nothing was done for as long.
            return if stalls_at.is_none() { self.check(floor) } else { Ok(()) };
        }
        self.with_app(floor, App::check)
    }

    /// Whether anything more is taken from the client: not while an answer could not go out.
    fn listens(&self) -> bool {
        match &self.transport {
            Transport::Polling(_) => false,
            Transport::WebSocket(link) => link.is_clear() && self.queue.is_empty(),
        }
    }

    /// Takes what has come over a WebSocket, and notices a poll that was given up. Returns whether that was all.
    fn hear(&mut self, floor: &mut Floor<A>) -> Result<bool, Ending> {
        self.changes_over(floor);
        if let Transport::Polling(poll) = &mut self.transport {
            let mut context = Context::from_waker(&self.waker);
            let is_given_up = poll.as_mut().is_some_and(|poll| poll.poll_closed(&mut context).is_ready());
            return if is_given_up { Err(Ending::Lost) } else { Ok(true) };
        }
        while self.listens() {
            let Transport::WebSocket(link) = &mut self.transport else { return Ok(true) };
            let Some(incoming) = link.receive(&mut floor.buffer)? else { return Ok(true) };
            if self.budget.take(floor.now).is_err() {
                return Err(Ending::TooMany);
            }
            match incoming {
                Incoming::Text(text) => self.on_packet(packet::parse(&text), floor)?,
                Incoming::Binary(bytes) => self.on_packet(self.version.parse_bytes(bytes), floor)?,
                Incoming::Ping(payload) => link.send(&codec::encode(Opcode::Pong, &payload))?,
                Incoming::Pong => {}
                Incoming::Close(_) => return Err(Ending::Left),
            }
        }
        Ok(false)
    }

    /// Whether it goes on over its WebSocket from now on.
    fn changes_over(&mut self, floor: &mut Floor<A>) -> bool {
        let Some(mut probe) = self.probe.take() else { return false };
        match probe.takes_over(&mut floor.buffer) {
            Ok(true) => {}
            Ok(false) => {
                self.probe = Some(probe);
                return false;
            }
            Err(Lost) => return false,
        }
        let before = mem::replace(&mut self.transport, Transport::WebSocket(probe.link));
        if let Transport::Polling(Some(poll)) = before {
            // Who no longer waits for it has given up polling, too.
            let _ = poll.send(self.version.payload([Packet::noop()]));
        }
        true
    }

    fn on_request(&mut self, request: Request, floor: &mut Floor<A>) -> Result<(), Ending> {
        // Nothing that was said before over a WebSocket may be overtaken.
        self.hear(floor)?;
        let Transport::Polling(poll) = &mut self.transport else { return Ok(()) };
        match request {
            Request::Poll(answer) if poll.is_none() => *poll = Some(answer),
            Request::Poll(_) => return Err(Ending::Malformed),
            Request::Unread(BodyError::TooLarge) => return Err(Ending::TooLong),
            Request::Unread(BodyError::Slow | BodyError::Broken) => return Err(Ending::Lost),
            Request::Post(body, told) => {
                let done = self.on_payload(&body, floor);
                // Who no longer waits for it does not care.
                let _ = told.send(done != Err(Ending::Malformed));
                return done;
            }
            Request::Upgrade(io) if self.probe.is_none() => {
                let probe = Probe::new(io, self.waker.clone(), floor.common.0.max_payload, floor.now);
                self.probe = Some(Box::new(probe));
            }
            Request::Upgrade(_) => {}
        }
        Ok(())
    }

    fn on_payload(&mut self, body: &[u8], floor: &mut Floor<A>) -> Result<(), Ending> {
        let body = str::from_utf8(body).map_err(|_| Ending::Malformed)?;
        for received in self.version.parse_payload(body) {
            if self.budget.take(floor.now).is_err() {
                return Err(Ending::TooMany);
            }
            self.on_packet(received, floor)?;
            if self.queue.len() > QUEUE {
                return Err(Ending::Stalled);
            }
        }
        Ok(())
    }

    fn on_packet(&mut self, received: Option<Received<'_>>, floor: &mut Floor<A>) -> Result<(), Ending> {
        match (received, self.version) {
            (Some(Received::Message(text)), _) => self.with_app(floor, |app, desk| app.on_text(text, desk)),
            (Some(Received::Binary(bytes)), _) => self.with_app(floor, |app, desk| app.on_binary(bytes, desk)),
            (Some(Received::Pong), Version::V4) => {
                self.heartbeat = Heartbeat::new(self.version, &floor.common.0, floor.now);
                Ok(())
            }
            (Some(Received::Ping(data)), Version::V3 { .. }) => {
                self.heartbeat = Heartbeat::new(self.version, &floor.common.0, floor.now);
                self.queue.push_back(Packet::pong(data));
                Ok(())
            }
            (Some(Received::Noop), _) => Ok(()),
            (Some(Received::Close), _) => Err(Ending::Left),
            // One side asks, the other answers, except on a WebSocket that is to take over.
            (Some(Received::Ping(_) | Received::Pong | Received::Upgrade) | None, _) => Err(Ending::Malformed),
        }
    }

    /// Sends what is queued, and then what is new, for as long as it is taken.
    fn send_news(&mut self, floor: &mut Floor<A>) -> Result<(), Ending> {
        while self.has_room()? {
            // What is queued is the whole answer to a poll.
            let is_answer = matches!(self.transport, Transport::Polling(_)) && !self.queue.is_empty();
            let news = if is_answer { None } else { self.with_app(floor, App::next) };
            match (news, &mut self.transport) {
                (None, _) if self.queue.is_empty() => break,
                (None, _) => {}
                (Some(packet), Transport::WebSocket(link)) if self.queue.is_empty() => {
                    link.send(&self.version.frames(packet))?;
                    continue;
                }
                (Some(packet), _) => self.queue.push_back(packet),
            }
            self.send_queued()?;
        }
        Ok(())
    }

    /// Whether something can be sent now.
    fn has_room(&mut self) -> Result<bool, Lost> {
        match &mut self.transport {
            Transport::WebSocket(link) => {
                link.flush()?;
                Ok(link.is_clear())
            }
            Transport::Polling(poll) => {
                if poll.is_some() && self.queue.is_empty() && self.probe.as_ref().is_some_and(|probe| probe.is_answered)
                {
                    self.queue.push_back(Packet::noop());
                }
                Ok(poll.is_some())
            }
        }
    }

    /// Sends what is queued, together, if something can be sent now.
    fn send_queued(&mut self) -> Result<(), Lost> {
        if self.queue.is_empty() || !self.has_room()? {
            return Ok(());
        }
        let queue = mem::take(&mut self.queue);
        match &mut self.transport {
            Transport::WebSocket(link) => {
                let frames: Vec<_> = queue.into_iter().map(|packet| self.version.frames(packet)).collect();
                link.send(&frames.concat().into())
            }
            Transport::Polling(poll) => match poll.take() {
                Some(poll) => poll.send(self.version.payload(queue)).map_err(|_| Lost),
                None => Ok(()),
            },
        }
    }

    /// Ends the session: at once, or when what was said last has gone out.
    fn close(&mut self, ending: Ending, floor: &mut Floor<A>) -> Option<Ending> {
        self.app = None;
        // Who was answered may have stopped polling, and hears of nothing but over this until a ping is long missed.
        self.probe = self.probe.take().filter(|probe| probe.is_answered);
        match &mut self.transport {
            Transport::Polling(poll) => {
                let has_word = ending.is_about_sessions() && !self.queue.is_empty();
                let comes_again = ending == Ending::Left || self.probe.is_some();
                if has_word || comes_again && poll.is_none() {
                    self.stage = Stage::Leaving(ending, floor.now + LEAVE_TIMEOUT);
                    return self.send_queued().err().map(|Lost| ending);
                }
                self.queue.push_back(last_packet(ending));
                let _ = self.send_queued();
                Some(ending)
            }
            Transport::WebSocket(link) => {
                // Who takes nothing at the moment must not have the rest later.
                let is_cut_off = ending == Ending::SessionOver && !link.is_clear();
                let answer = (ending == Ending::Left).then(|| codec::encode(Opcode::Close, &[]));
                let Some(last) = answer.or_else(|| ending.close_frame()).filter(|_| !is_cut_off) else {
                    return Some(ending);
                };
                let mut frames = self.queue.drain(..).map(|packet| self.version.frames(packet)).chain([last]);
                let told = frames.try_for_each(|frame| link.send(&frame));
                drop(frames);
                self.stage = Stage::Closing(ending, floor.now + CLOSE_TIMEOUT);
                told.and_then(|()| link.drain(&mut floor.buffer)).err().map(|Lost| ending)
            }
        }
    }

    /// Whether a client that leaves has done so. What it is told and the end are two answers: clients hear of the end at
    /// once, and of what they are told a moment later.
    fn has_left(&mut self, cause: loops::Cause<Self>, ending: Ending) -> bool {
        let loops::Cause::Call(Call { sid, request }) = cause else { return false };
        if *sid != *self.sid {
            return false;
        }
        // Who no longer waits for an answer has left.
        match request {
            Request::Poll(answer) if self.queue.is_empty() => {
                let _ = answer.send(self.version.payload([last_packet(ending)]));
                true
            }
            Request::Poll(answer) => answer.send(self.version.payload(self.queue.drain(..))).is_err(),
            Request::Post(_, told) => told.send(true).is_err(),
            Request::Unread(_) | Request::Upgrade(_) => false,
        }
    }
}

/// What ends the polls of a client.
fn last_packet(ending: Ending) -> Packet {
    if ending == Ending::Left { Packet::noop() } else { Packet::close() }
}
