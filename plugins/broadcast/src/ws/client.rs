use std::{
    convert::Infallible,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use ratebus_sdk::{AttemptBudget, NoSession, ProblemDocument, SessionPass};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::{
    batches::{Batch, Batches},
    board::Board,
    codec::{self, Incoming, Opcode},
    cursor::{Cursor, Kind, TooManyPatterns},
    door::{AUTH_TIMEOUT, Guest, View},
    ending::Ending,
    heartbeat::{self, Heartbeat},
    hub::Hub,
    link::{Link, Lost},
    loops::{self, Chair, Errand, Name},
    pace::Pace,
    request::{self, Asked, Id, Op, Reply, Selection, Subscribed, too_many_patterns, unknown_pairs},
};

/// The longest message taken from a client.
const MAX_MESSAGE: usize = 4096;
/// How many messages a client may send per second.
const MESSAGES_PER_SECOND: usize = 10;
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the clients of a loop share.
pub(crate) struct Common {
    batches: Batches,
    heartbeat: Heartbeat,
}

impl Default for Common {
    fn default() -> Self {
        Self { batches: Batches::new(|slot, seen| Some(slot.message(seen))), heartbeat: Heartbeat::default() }
    }
}

/// What a client waited for.
pub(crate) enum Outcome {
    /// Whether the first token is good, and how the request was marked.
    Checked(Option<Box<RawValue>>, Result<SessionPass, NoSession>),
    /// The same of a newer one.
    Renewed(Option<Box<RawValue>>, Result<SessionPass, ProblemDocument>),
    /// The session has ended, or its token has run out.
    Over,
}

type Floor = loops::Floor<Client>;
type Cause = loops::Cause<Client>;

/// What a client is made of.
pub(crate) struct Newcomer {
    pub(crate) io: Upgraded,
    pub(crate) guest: Guest,
    pub(crate) selection: Selection,
}

/// A client of `/v1/ws`. It keeps no more than its position on the board and what its connection could not take.
pub(crate) struct Client {
    name: Name,
    link: Link,
    guest: Guest,
    stage: Stage,
    cursor: Cursor,
    /// What is said after the first snapshot.
    after_snapshot: Option<Box<Bytes>>,
    budget: AttemptBudget,
    pace: Pace,
    /// When it is told next that all is well, and asked whether it is there; it has until the next time to show that it is.
    beat_at: Instant,
    /// Whether anything came in since the last time.
    heard: bool,
    /// Hears of the end of the session, where there is one.
    watch: Option<Errand>,
    /// Checks a newer token.
    renewal: Option<Errand>,
}

enum Stage {
    /// It has to show a token until then, if it must show one at all.
    Awaited { selection: Box<Selection>, until: Instant },
    /// Its token is being checked.
    Checked { selection: Box<Selection>, _errand: Errand },
    /// It is sent what changes.
    Streaming,
    /// It was told, or has told us, that this is the end.
    Closing { ending: Ending, until: Instant },
}

impl loops::Client for Client {
    type Newcomer = Newcomer;
    type Call = Infallible;
    type Outcome = Outcome;
    type Common = Common;

    fn new(newcomer: Newcomer, chair: Chair, floor: &Floor) -> Self {
        let Newcomer { io, guest, selection } = newcomer;
        let pace = Pace::new([floor.hub.max_rate, selection.max_rate], floor.now);
        Self {
            name: chair.name,
            link: Link::new(io, chair.waker, MAX_MESSAGE),
            guest,
            stage: Stage::Awaited { selection: Box::new(selection), until: floor.now + AUTH_TIMEOUT },
            cursor: Cursor::none(&floor.hub.board),
            after_snapshot: None,
            budget: AttemptBudget::new(MESSAGES_PER_SECOND, Duration::from_secs(1)),
            pace,
            beat_at: floor.now + heartbeat::INTERVAL,
            heard: true,
            watch: None,
            renewal: None,
        }
    }

    fn turn(&mut self, cause: Cause, floor: &mut Floor) -> Option<Ending> {
        if let Stage::Closing { ending, until } = self.stage {
            let is_over = floor.now >= until || self.link.drain(&mut floor.buffer).is_err();
            return is_over.then_some(ending);
        }
        let done = self.step(cause, floor);
        self.guest.owes(self.link.pending(), floor.now);
        match done {
            Ok(()) => None,
            Err(ending) => self.close(ending, floor),
        }
    }

    fn glance(&mut self) {
        self.guest.glance();
        self.link.glance();
        black_box((self.cursor.seen(), self.beat_at, self.pace.due()));
        black_box(matches!(self.stage, Stage::Streaming));
    }

    fn due(&self, floor: &Floor) -> Instant {
        let due = match self.stage {
            Stage::Awaited { until, .. } | Stage::Closing { until, .. } => until,
            Stage::Checked { .. } | Stage::Streaming => {
                self.pace.due().map_or(self.beat_at, |due| due.min(self.beat_at))
            }
        };
        self.link.stalls_at(floor.hub.stall_timeout).map_or(due, |stalls_at| due.min(stalls_at))
    }

    fn news(hub: &Hub) -> watch::Receiver<u64> {
        hub.board.changes()
    }
}

impl Client {
    fn step(&mut self, cause: Cause, floor: &mut Floor) -> Result<(), Ending> {
        match cause {
            Cause::News => return self.catch_up(floor),
            Cause::Stop => return Err(Ending::Stopping),
            Cause::Arrival => self.arrive(floor)?,
            Cause::Knock => self.link.flush()?,
            Cause::Time => self.check(floor)?,
            Cause::Done(outcome) => self.take(outcome, floor)?,
            Cause::Call(never) => match never {},
        }
        loop {
            let heard_all = self.hear(floor)?;
            self.catch_up(floor)?;
            if heard_all || !self.listens() {
                return Ok(());
            }
        }
    }

    /// Closes with a handshake where there is still somebody to shake hands with.
    fn close(&mut self, ending: Ending, floor: &mut Floor) -> Option<Ending> {
        // Who takes nothing at the moment must not have the rest later.
        let is_cut_off = ending == Ending::SessionOver && !self.link.is_clear();
        let told = match ending.close_frame() {
            Some(frame) if !is_cut_off => self.link.send(&frame),
            None if ending == Ending::Left => Ok(()),
            _ => Err(Lost),
        };
        (self.watch, self.renewal, self.after_snapshot) = (None, None, None);
        self.stage = Stage::Closing { ending, until: floor.now + CLOSE_TIMEOUT };
        told.and_then(|()| self.link.drain(&mut floor.buffer)).err().map(|Lost| ending)
    }

    /// Nobody sees a rate before they may.
    fn arrive(&mut self, floor: &mut Floor) -> Result<(), Ending> {
        match self.guest.view {
            View::Awaited => Ok(()),
            View::Open | View::Session(_) => self.begin(None, floor),
        }
    }

    /// Up to the first snapshot, and what could not be subscribed.
    fn begin(&mut self, shown: Option<(SessionPass, Option<Box<RawValue>>)>, floor: &mut Floor) -> Result<(), Ending> {
        if let Some((pass, id)) = shown {
            self.renew(pass, id.as_deref(), floor)?;
        } else {
            self.watch(floor);
        }
        let (Stage::Awaited { selection, .. } | Stage::Checked { selection, .. }) =
            std::mem::replace(&mut self.stage, Stage::Streaming)
        else {
            return Ok(());
        };
        let (cursor, unknown) = selection.start(&floor.hub.board, None);
        self.cursor = cursor;
        let is_resumed = !self.cursor.is_adding();
        if is_resumed {
            self.reply(&Reply::Resumed)?;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let word = message(&Reply::Error { error: unknown_pairs(&unknown), id: None })?;
        if is_resumed {
            return Ok(self.link.send(&word)?);
        }
        self.after_snapshot = Some(Box::new(word));
        Ok(())
    }

    /// Listens for the end of the session.
    fn watch(&mut self, floor: &mut Floor) {
        if let View::Session(pass) = &self.guest.view {
            let pass = pass.clone();
            let over = async move {
                pass.over().await;
                Outcome::Over
            };
            self.watch = Some(floor.send_for(self.name, over));
        }
    }

    /// Goes on with another token.
    fn renew(&mut self, pass: SessionPass, id: Id<'_>, floor: &mut Floor) -> Result<(), Ending> {
        let expires_at = pass.expires_at();
        self.guest.view = View::Session(pass);
        self.watch(floor);
        self.reply(&Reply::Authenticated { expires_at, id })
    }

    fn take(&mut self, outcome: Outcome, floor: &mut Floor) -> Result<(), Ending> {
        match outcome {
            Outcome::Over if self.guest.view.is_over() => Err(Ending::SessionOver),
            Outcome::Over => Ok(()),
            Outcome::Checked(id, shown) => self.begin(Some((shown?, id)), floor),
            Outcome::Renewed(id, shown) => {
                self.renewal = None;
                match shown {
                    Ok(pass) => self.renew(pass, id.as_deref(), floor),
                    Err(error) => self.reply(&Reply::Error { error, id: id.as_deref() }),
                }
            }
        }
    }

    /// What time brings: the end of patience, or a question.
    fn check(&mut self, floor: &mut Floor) -> Result<(), Ending> {
        if let Stage::Awaited { until, .. } = self.stage
            && floor.now >= until
        {
            return Err(Ending::Unauthenticated);
        }
        if self.link.stalls_at(floor.hub.stall_timeout).is_some_and(|stalls_at| floor.now >= stalls_at) {
            return Err(Ending::Stalled);
        }
        if floor.now < self.beat_at {
            return Ok(());
        }
        self.beat_at = floor.now + heartbeat::INTERVAL;
        // Who still has something to take is asked for that.
        if !self.link.is_clear() {
            return Ok(());
        }
        if !std::mem::take(&mut self.heard) {
            return Err(Ending::Silent);
        }
        let beat = match self.stage {
            Stage::Streaming => floor.common.heartbeat.get(&floor.hub.board, floor.now),
            _ => codec::encode(Opcode::Ping, &[]),
        };
        Ok(self.link.send(&beat)?)
    }

    /// Whether a request is taken: one after the other, and none while its answer could not go out.
    fn listens(&self) -> bool {
        let is_busy = self.cursor.is_adding() || self.renewal.is_some();
        !is_busy && self.link.is_clear() && matches!(self.stage, Stage::Awaited { .. } | Stage::Streaming)
    }

    /// Takes what has come in. Returns whether that was all.
    fn hear(&mut self, floor: &mut Floor) -> Result<bool, Ending> {
        while self.listens() {
            let Some(incoming) = self.link.receive(&mut floor.buffer)? else { return Ok(true) };
            self.heard = true;
            if self.budget.take(floor.now).is_err() {
                return Err(Ending::TooMany);
            }
            match incoming {
                Incoming::Text(text) => self.on_text(&text, floor)?,
                Incoming::Binary(_) => return Err(Ending::Binary),
                Incoming::Ping(payload) => self.link.send(&codec::encode(Opcode::Pong, &payload))?,
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    let code = code.map(u16::to_be_bytes);
                    self.link.send(&codec::encode(Opcode::Close, code.as_ref().map_or(&[], |code| &code[..])))?;
                    return Err(Ending::Left);
                }
            }
        }
        Ok(false)
    }

    fn on_text(&mut self, text: &str, floor: &mut Floor) -> Result<(), Ending> {
        let (id, op) = request::parse(text);
        if let Stage::Awaited { .. } = self.stage {
            let Ok(Op::Auth(token)) = op else { return Err(Ending::Unauthenticated) };
            self.authenticate(token, id, floor);
            return Ok(());
        }
        match op {
            Ok(Op::Auth(token)) => {
                let (hub, view, id) = (Arc::clone(&floor.hub), self.guest.view.clone(), id.map(ToOwned::to_owned));
                let renewed = async move { Outcome::Renewed(id, hub.door.renew(&view, &token).await) };
                self.renewal = Some(floor.send_for(self.name, renewed));
                Ok(())
            }
            Ok(Op::Limit(max_rate)) => {
                self.pace.change([floor.hub.max_rate, max_rate], floor.now);
                self.reply(&Reply::Limited { max_rate: self.pace.max_rate(), id })
            }
            Ok(Op::Ping) => self.reply(&Reply::Pong { id }),
            Ok(Op::Subscribe(asked)) => self.subscribe(&asked, id, floor),
            Ok(Op::Unsubscribe(asked)) => {
                let board = &floor.hub.board;
                self.cursor.unsubscribe(board, &asked.patterns().collect::<Vec<_>>());
                self.subscribed(board, id)
            }
            Err(error) => self.reply(&Reply::Error { error, id }),
        }
    }

    /// Has the first token checked. How long that takes is not the client's.
    fn authenticate(&mut self, token: String, id: Id<'_>, floor: &mut Floor) {
        let (hub, id) = (Arc::clone(&floor.hub), id.map(ToOwned::to_owned));
        let checked = async move { Outcome::Checked(id, hub.door.check(&token).await) };
        let errand = floor.send_for(self.name, checked);
        if let Stage::Awaited { selection, .. } = std::mem::replace(&mut self.stage, Stage::Streaming) {
            self.stage = Stage::Checked { selection, _errand: errand };
        }
    }

    fn subscribe(&mut self, asked: &Asked, id: Id<'_>, floor: &mut Floor) -> Result<(), Ending> {
        let board = &floor.hub.board;
        let (known, unknown) = asked.known(board);
        if !unknown.is_empty() {
            self.reply(&Reply::Error { error: unknown_pairs(&unknown), id })?;
        }
        match self.cursor.subscribe(board, &known) {
            Ok(_) => self.subscribed(board, id),
            Err(TooManyPatterns) => self.reply(&Reply::Error { error: too_many_patterns(), id }),
        }
    }

    fn subscribed(&mut self, board: &Board, id: Id<'_>) -> Result<(), Ending> {
        let subscribed = Subscribed::new(self.cursor.wanted(), board);
        self.reply(&Reply::Subscribed { subscribed, id })
    }

    /// Sends what it has not been sent yet, for as long as the connection takes it.
    fn catch_up(&mut self, floor: &mut Floor) -> Result<(), Ending> {
        if !self.pace.allows(floor.now) && !self.cursor.is_adding() {
            return Ok(());
        }
        let Floor { hub, common, tally, since: oldest, now, .. } = floor;
        while self.link.is_clear()
            && let Some(batch) = common.batches.take(&mut self.cursor, &hub.board)
        {
            let &Batch { ref bytes, quotes, conflated, kind, has_more, since } = batch;
            self.guest.sent(quotes, conflated);
            tally.sent(quotes, bytes.len(), conflated);
            if kind == Kind::Changes {
                *oldest = oldest.iter().copied().chain(since.filter(|_| !self.pace.is_limited())).min();
                tally.joined(quotes);
                if !has_more {
                    self.pace.sent(*now);
                }
            }
            self.link.send(bytes)?;
            if kind == (Kind::Snapshot { is_last: true })
                && let Some(word) = self.after_snapshot.take()
            {
                self.link.send(&word)?;
            }
            if !has_more {
                break;
            }
        }
        Ok(())
    }

    fn reply(&mut self, reply: &Reply<'_>) -> Result<(), Ending> {
        Ok(self.link.send(&message(reply)?)?)
    }
}

fn message(reply: &Reply<'_>) -> Result<Bytes, Ending> {
    let text = serde_json::to_vec(reply).map_err(|_| Ending::Lost)?;
    Ok(codec::encode(Opcode::Text, &text))
}
