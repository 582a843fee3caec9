//! The loops that own the connections: each a task that does for its clients, one after the other, what can be done
//! without waiting. A change on the board is one round through all of them; what changes in the meantime goes out
//! together in the next one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Instant,
};

use hyper::upgrade::Upgraded;
use ratebus_sdk::Clock;
use slab::Slab;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet, coop::unconstrained, yield_now},
};

use crate::{
    batches::Batches,
    door::Guest,
    hub::Hub,
    knocks::{Knock, Knocks},
    link::Link,
    metrics::Meter,
    request::Selection,
    wheel::Wheel,
    ws::{Cause, Client, MAX_MESSAGE, Outcome},
};

/// What is read from a client at once.
const READ_BUFFER: usize = 4096;
/// How many clients a loop serves before it lets other tasks run.
const AT_ONCE: usize = 64;
/// How many newcomers a loop is handed before it has taken one; who hands over more waits, so these are fewer than the
/// places there are.
const NEWCOMERS: usize = 256;

/// Where a connection goes after its handshake.
pub(crate) struct Loops {
    doors: Vec<mpsc::Sender<Newcomer>>,
    next: AtomicUsize,
}

/// A connection after its handshake.
pub(crate) struct Newcomer {
    pub(crate) io: Upgraded,
    pub(crate) guest: Guest,
    pub(crate) selection: Selection,
}

impl Loops {
    /// Starts `count` loops. They end when the hub stops and their clients are gone.
    pub(crate) fn start(count: usize, hub: &Arc<Hub>, meter: &Meter) -> Self {
        let start = |_| {
            let (door, newcomers) = mpsc::channel(NEWCOMERS);
            // The budget that tokio gives a task is for one connection, not for thousands.
            tokio::spawn(unconstrained(Loop::new(Arc::clone(hub), meter.clone()).run(newcomers)));
            door
        };
        Self { doors: (0..count).map(start).collect(), next: AtomicUsize::new(0) }
    }

    /// Hands a connection to the next loop; it is closed if that has ended.
    pub(crate) async fn join(&self, newcomer: Newcomer) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        let _ = self.doors[next].send(newcomer).await;
    }
}

struct Loop {
    clients: Slab<Seat>,
    /// Counts those who came.
    came: u64,
    knocks: Arc<Knocks>,
    floor: Floor,
    stopping: bool,
}

/// A client and what the loop knows of it.
struct Seat {
    client: Client,
    name: Name,
    knock: Arc<Knock>,
    /// The tick on which the client is looked at next.
    tick: u64,
}

/// Who a client is: its seat, and its number, for seats are taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    index: usize,
    number: u64,
}

/// What the clients of a loop share.
pub(crate) struct Floor {
    pub(crate) hub: Arc<Hub>,
    pub(crate) meter: Meter,
    pub(crate) batches: Batches,
    pub(crate) buffer: Box<[u8]>,
    pub(crate) now: Instant,
    /// When the oldest change that went out in this round was put on the board.
    pub(crate) since: Option<Instant>,
    errands: JoinSet<(Name, Outcome)>,
    wheel: Wheel,
}

/// Something that a client waits for; it is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Errand(AbortHandle);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Floor {
    /// Has something done that takes a while. The client has its turn with the outcome.
    pub(crate) fn send_for(&mut self, name: Name, outcome: impl Future<Output = Outcome> + Send + 'static) -> Errand {
        Errand(self.errands.spawn(async move { (name, outcome.await) }))
    }
}

impl Loop {
    fn new(hub: Arc<Hub>, meter: Meter) -> Self {
        let now = Clock.now();
        let floor = Floor {
            hub,
            meter,
            batches: Batches::default(),
            buffer: vec![0; READ_BUFFER].into(),
            now,
            since: None,
            errands: JoinSet::new(),
            wheel: Wheel::new(now),
        };
        Self { clients: Slab::new(), came: 0, knocks: Arc::default(), floor, stopping: false }
    }

    async fn run(mut self, mut newcomers: mpsc::Receiver<Newcomer>) {
        let hub = Arc::clone(&self.floor.hub);
        let (knocks, mut changes) = (Arc::clone(&self.knocks), hub.board.changes());
        let mut knocked = Vec::new();
        while !(self.stopping && self.clients.is_empty()) {
            tokio::select! {
                () = hub.stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    self.everyone(|| Cause::Stop).await;
                }
                Some(newcomer) = newcomers.recv() => self.seat(newcomer),
                Some(errand) = self.floor.errands.join_next() => {
                    // Others were given up.
                    if let Ok((name, outcome)) = errand {
                        self.bring(name, outcome);
                    }
                }
                () = knocks.some() => {
                    knocks.take(&mut knocked);
                    self.answer(&knocked).await;
                }
                () = self.floor.wheel.due() => self.look().await,
                // The sender lives in the hub.
                _ = changes.changed() => self.round().await,
            }
        }
    }

    fn seat(&mut self, newcomer: Newcomer) {
        let Newcomer { io, guest, selection } = newcomer;
        self.floor.now = Clock.now();
        self.came += 1;
        let entry = self.clients.vacant_entry();
        let name = Name { index: entry.key(), number: self.came };
        let knock = self.knocks.of(name.index);
        let link = Link::new(io, Waker::from(Arc::clone(&knock)), MAX_MESSAGE);
        let client = Client::new(name, link, guest, selection, self.floor.now);
        entry.insert(Seat { client, name, knock, tick: u64::MAX });
        self.visit(name.index, if self.stopping { Cause::Stop } else { Cause::Arrival });
    }

    /// One round through all clients with what has changed.
    async fn round(&mut self) {
        self.floor.since = None;
        self.everyone(|| Cause::News).await;
        if let Some(since) = self.floor.since.take() {
            self.floor.meter.served(Clock.now().saturating_duration_since(since));
        }
    }

    async fn everyone(&mut self, cause: fn() -> Cause) {
        for index in 0..self.clients.capacity() {
            self.pause(index).await;
            self.visit(index, cause());
        }
    }

    /// Serves those who knocked.
    async fn answer(&mut self, knocked: &[usize]) {
        for (turn, &index) in knocked.iter().enumerate() {
            self.pause(turn).await;
            if let Some(seat) = self.clients.get(index) {
                seat.knock.answer();
                self.visit(index, Cause::Knock);
            }
        }
    }

    fn bring(&mut self, name: Name, outcome: Outcome) {
        self.floor.now = Clock.now();
        if self.clients.get(name.index).is_some_and(|seat| seat.name == name) {
            self.visit(name.index, Cause::Done(outcome));
        }
    }

    /// Looks at those whose time has come.
    async fn look(&mut self) {
        while let Some((tick, indices)) = self.floor.wheel.take(Clock.now()) {
            for (turn, index) in indices.into_iter().enumerate() {
                self.pause(turn).await;
                if let Some(seat) = self.clients.get_mut(index).filter(|seat| seat.tick == tick) {
                    seat.tick = u64::MAX;
                    self.visit(index, Cause::Time);
                }
            }
        }
    }

    /// Lets other tasks run once in a while, and looks at the clock.
    async fn pause(&mut self, turn: usize) {
        if turn.is_multiple_of(AT_ONCE) {
            if turn > 0 {
                yield_now().await;
            }
            self.floor.now = Clock.now();
        }
    }

    /// A client's turn.
    fn visit(&mut self, index: usize, cause: Cause) {
        let Some(Seat { client, tick, .. }) = self.clients.get_mut(index) else { return };
        if let Some(ending) = client.turn(cause, &mut self.floor) {
            self.floor.meter.closed(ending.as_str());
            self.clients.remove(index);
            return;
        }
        let due = self.floor.wheel.tick(client.due(self.floor.hub.stall_timeout));
        if due < *tick {
            *tick = due;
            self.floor.wheel.insert(due, index);
        }
    }
}
