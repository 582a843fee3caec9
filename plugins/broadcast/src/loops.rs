//! The loops that own the connections: each a task that does for its clients, one after the other, what can be done
//! without waiting. A change on the board is one round through all of them; what changes in the meantime goes out
//! together in the next one.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Instant,
};

use futures_util::FutureExt;
use ratebus_sdk::Clock;
use slab::Slab;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet, coop::unconstrained, yield_now},
};

use crate::{
    ending::Ending,
    hub::Hub,
    knocks::{Knock, Knocks},
    metrics::{Meter, Tally},
    wheel::Wheel,
};

/// What is read from a client at once.
const READ_BUFFER: usize = 4096;
/// How many clients a loop serves before it lets other tasks run.
const AT_ONCE: usize = 64;
/// How much a loop is handed before it has taken any of it; who hands over more waits, each with its request or
/// connection, and so these are no more than the listener has.
const ORDERS: usize = 256;

/// Somebody of whom a loop has many. It has its turn when something happens to it, and does what can be done without
/// waiting.
pub(crate) trait Client: Send + Sized + 'static {
    /// What it is made of.
    type Newcomer: Send;
    /// What reaches it from outside, other than over its connection.
    type Call: Send;
    /// What it waited for.
    type Outcome: Send + 'static;
    /// What the clients of one loop share.
    type Common: Send;

    /// To have its first turn at once.
    fn new(newcomer: Self::Newcomer, chair: Chair, floor: &Floor<Self>) -> Self;

    /// Does what can be done now. Returns why it is gone, once it is.
    fn turn(&mut self, cause: Cause<Self>, floor: &mut Floor<Self>) -> Option<Ending>;

    /// Looks at what its turn with news will need, so that it is in the processor's caches by then.
    fn glance(&mut self) {}

    /// When it is to have a turn, whatever happens.
    fn due(&self, floor: &Floor<Self>) -> Instant;

    /// Changes when clients are to hear of something.
    fn news(hub: &Hub) -> watch::Receiver<u64>;
}

/// Why a client has its turn.
pub(crate) enum Cause<C: Client> {
    /// It has just come.
    Arrival,
    /// There is something new for everybody.
    News,
    /// Its connection can go on.
    Knock,
    /// It is due.
    Time,
    /// Something reaches it from outside.
    Call(C::Call),
    /// What it waited for is there.
    Done(C::Outcome),
    /// The server stops.
    Stop,
}

/// What a client is given when it comes.
pub(crate) struct Chair {
    pub(crate) name: Name,
    /// Has it have a turn.
    pub(crate) waker: Waker,
}

enum Order<C: Client> {
    Join(C::Newcomer),
    /// For who has that seat now.
    Call(usize, C::Call),
}

/// The way to the loops.
pub(crate) struct Loops<C: Client> {
    doors: Vec<mpsc::Sender<Order<C>>>,
    next: AtomicUsize,
}

impl<C: Client> Loops<C> {
    /// Starts `count` loops. They end when the hub has stopped and everybody is gone, those included who are still on their
    /// way to a loop.
    pub(crate) fn start(count: usize, hub: &Arc<Hub>, meter: &Meter, common: impl Fn() -> C::Common) -> Self {
        let start = |shard| {
            let (door, orders) = mpsc::channel(ORDERS);
            let floor = Floor::new(Arc::clone(hub), meter.clone(), common());
            let stop = hub.stop.clone();
            // The budget that tokio gives a task is for one connection, not for thousands.
            tokio::spawn(unconstrained(async move {
                // A loop that breaks has lost its clients: all are to come again, to loops that run.
                let _stop = stop.drop_guard();
                Loop::new(shard, floor).run(orders).await;
            }));
            door
        };
        Self { doors: (0..count).map(start).collect(), next: AtomicUsize::new(0) }
    }

    /// Hands somebody new to the next loop; they are dropped if that has ended.
    pub(crate) async fn join(&self, newcomer: C::Newcomer) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        let _ = self.doors[next].send(Order::Join(newcomer)).await;
    }

    /// Hands something to who has a seat of the loop `shard`; it is dropped if nobody has.
    pub(crate) async fn call(&self, shard: usize, index: usize, call: C::Call) {
        if let Some(door) = self.doors.get(shard) {
            let _ = door.send(Order::Call(index, call)).await;
        }
    }
}

struct Loop<C: Client> {
    shard: usize,
    clients: Slab<Seat<C>>,
    /// Counts those who came.
    came: u64,
    knocks: Arc<Knocks>,
    floor: Floor<C>,
    /// Of those who are sent away, when the server stops.
    leaving: Option<Leaving>,
}

/// How far it has come with the seats that were taken when the server stopped.
#[derive(Clone, Copy)]
struct Leaving {
    next: u32,
    seats: u32,
}

/// A client and what the loop knows of it.
struct Seat<C> {
    /// Boxed, so that the table grows by little.
    client: Box<C>,
    name: Name,
    knock: Arc<Knock>,
    /// When the client is looked at next: on the wheel it is on the tick of that.
    due: Option<Instant>,
}

/// Who a client is: its loop, its seat there, and its number, for seats are taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) shard: usize,
    pub(crate) index: usize,
    number: u64,
}

/// What the clients of a loop have in turn.
pub(crate) struct Floor<C: Client> {
    pub(crate) hub: Arc<Hub>,
    pub(crate) meter: Meter,
    pub(crate) common: C::Common,
    pub(crate) buffer: Box<[u8]>,
    pub(crate) now: Instant,
    /// What went out and is not counted yet.
    pub(crate) tally: Tally,
    /// When the oldest change that went out in this round was put on the board.
    pub(crate) since: Option<Instant>,
    /// `None` for one that panicked.
    errands: JoinSet<(Name, Option<C::Outcome>)>,
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

impl<C: Client> Floor<C> {
    fn new(hub: Arc<Hub>, meter: Meter, common: C::Common) -> Self {
        let now = Clock.now();
        let (buffer, errands, wheel) = (vec![0; READ_BUFFER].into(), JoinSet::new(), Wheel::new(now));
        Self { hub, meter, common, buffer, now, tally: Tally::default(), since: None, errands, wheel }
    }

    fn count(&mut self) {
        self.meter.count(&mut self.tally);
    }

    /// Has something done that takes a while. The client has its turn with the outcome.
    pub(crate) fn send_for(
        &mut self,
        name: Name,
        outcome: impl Future<Output = C::Outcome> + Send + 'static,
    ) -> Errand {
        Errand(self.errands.spawn(async move { (name, AssertUnwindSafe(outcome).catch_unwind().await.ok()) }))
    }
}

impl<C: Client> Loop<C> {
    fn new(shard: usize, floor: Floor<C>) -> Self {
        Self { shard, clients: Slab::new(), came: 0, knocks: Arc::default(), floor, leaving: None }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order<C>>) {
        let hub = Arc::clone(&self.floor.hub);
        let (knocks, mut news) = (Arc::clone(&self.knocks), C::news(&hub));
        let mut knocked = Vec::new();
        let mut empty = pin!(hub.door.empty());
        loop {
            tokio::select! {
                () = &mut empty, if self.leaving.is_some() && self.clients.is_empty() => return,
                () = hub.stop.cancelled(), if self.leaving.is_none() => {
                    let last = self.clients.iter().next_back();
                    let seats = last.map_or(0, |(index, _)| u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
                    self.leaving = Some(Leaving { next: 0, seats });
                }
                () = turn_to_leave(&hub, self.leaving) => self.send_away().await,
                Some(order) = orders.recv() => self.follow(order),
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
                _ = news.changed() => self.round().await,
            }
            self.floor.count();
        }
    }

    fn follow(&mut self, order: Order<C>) {
        self.floor.now = Clock.now();
        let newcomer = match order {
            Order::Join(newcomer) => newcomer,
            Order::Call(index, call) => return self.visit(index, Cause::Call(call)),
        };
        self.came += 1;
        let entry = self.clients.vacant_entry();
        let name = Name { shard: self.shard, index: entry.key(), number: self.came };
        let knock = self.knocks.of(name.index);
        let chair = Chair { name, waker: Arc::clone(&knock).into() };
        let client = Box::new(C::new(newcomer, chair, &self.floor));
        entry.insert(Seat { client, name, knock, due: None });
        self.visit(name.index, if self.leaving.is_some() { Cause::Stop } else { Cause::Arrival });
    }

    /// Sends away those whose turn has come.
    async fn send_away(&mut self) {
        let Some(Leaving { next, seats }) = self.leaving else { return };
        let mut seat = next;
        while seat < seats && self.floor.hub.leave.turn(seat, seats) <= Clock.now() {
            self.pause((seat - next) as usize).await;
            self.visit(seat as usize, Cause::Stop);
            seat += 1;
        }
        self.leaving = Some(Leaving { next: seat, seats });
    }

    /// One round through all clients with what has changed.
    async fn round(&mut self) {
        self.floor.since = None;
        for first in (0..self.clients.capacity()).step_by(AT_ONCE) {
            self.pause(first).await;
            let these = first..first + AT_ONCE;
            // Of thousands of clients little is in the processor's caches. It fetches ahead what it sees coming, but not
            // beyond a system call: without this it would wait for each client by itself.
            for index in these.clone() {
                if let Some(seat) = self.clients.get_mut(index) {
                    seat.client.glance();
                }
            }
            these.for_each(|index| self.visit(index, Cause::News));
        }
        if let Some(since) = self.floor.since.take() {
            self.floor.meter.served(Clock.now().saturating_duration_since(since));
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

    fn bring(&mut self, name: Name, outcome: Option<C::Outcome>) {
        self.floor.now = Clock.now();
        if self.clients.get(name.index).is_none_or(|seat| seat.name != name) {
            return;
        }
        match outcome {
            Some(outcome) => self.visit(name.index, Cause::Done(outcome)),
            None => self.remove(name.index, Ending::Failed),
        }
    }

    /// Looks at those whose time has come.
    async fn look(&mut self) {
        while let Some((tick, indices)) = self.floor.wheel.take(Clock.now()) {
            for (turn, index) in indices.into_iter().enumerate() {
                self.pause(turn).await;
                let is_due = |due: Option<Instant>| due.is_some_and(|due| self.floor.wheel.tick(due) == tick);
                if let Some(seat) = self.clients.get_mut(index).filter(|seat| is_due(seat.due)) {
                    seat.due = None;
                    self.visit(index, Cause::Time);
                }
            }
        }
    }

    /// Lets other tasks run once in a while, and looks at the clock.
    async fn pause(&mut self, turn: usize) {
        if turn.is_multiple_of(AT_ONCE) {
            if turn > 0 {
                self.floor.count();
                yield_now().await;
            }
            self.floor.now = Clock.now();
        }
    }

    fn remove(&mut self, index: usize, ending: Ending) {
        self.floor.meter.closed(ending.as_str());
        self.clients.remove(index);
    }

    /// A client's turn.
    fn visit(&mut self, index: usize, cause: Cause<C>) {
        let Some(Seat { client, due, .. }) = self.clients.get_mut(index) else { return };
        // A fault that shows with one client is not the end of all the others.
        let turn = catch_unwind(AssertUnwindSafe(|| client.turn(cause, &mut self.floor)));
        if let Some(ending) = turn.unwrap_or(Some(Ending::Failed)) {
            return self.remove(index, ending);
        }
        let next = client.due(&self.floor);
        if due.is_none_or(|due| next < due) {
            *due = Some(next);
            self.floor.wheel.insert(self.floor.wheel.tick(next), index);
        }
    }
}

/// Resolves when it is the next one's turn to be sent away. Cancel-safe.
async fn turn_to_leave(hub: &Hub, leaving: Option<Leaving>) {
    match leaving {
        Some(Leaving { next, seats }) if next < seats => hub.sends_away(next, seats).await,
        _ => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::places::Places;

    /// Says that it had a turn, or breaks if it is told to.
    struct Fragile {
        name: Name,
        turns: mpsc::UnboundedSender<()>,
        errand: Option<Errand>,
    }

    enum Told {
        Nothing,
        Panic,
        /// Wait for something that panics.
        Wait,
    }

    impl Client for Fragile {
        type Newcomer = mpsc::UnboundedSender<()>;
        type Call = Told;
        type Outcome = ();
        type Common = ();

        fn new(turns: mpsc::UnboundedSender<()>, chair: Chair, _floor: &Floor<Self>) -> Self {
            assert!(!turns.is_closed(), "who takes the loop with it");
            Self { name: chair.name, turns, errand: None }
        }

        fn turn(&mut self, cause: Cause<Self>, floor: &mut Floor<Self>) -> Option<Ending> {
            match cause {
                Cause::Call(Told::Panic) => panic!("as it was told"),
                Cause::Call(Told::Wait) => {
                    self.errand = Some(floor.send_for(self.name, async { panic!("as it was told") }));
                }
                _ => self.turns.send(()).unwrap(),
            }
            matches!(cause, Cause::Stop).then_some(Ending::Stopping)
        }

        fn due(&self, floor: &Floor<Self>) -> Instant {
            floor.now + Duration::from_hours(1)
        }

        fn news(hub: &Hub) -> watch::Receiver<u64> {
            hub.board.changes()
        }
    }

    fn start(places: &Arc<Places>, stop: &CancellationToken) -> (Arc<Hub>, Loops<Fragile>) {
        let hub = Hub::for_tests(Arc::clone(places), 0, stop.clone());
        let loops = Loops::start(1, &hub, &Meter::new("test"), || ());
        (hub, loops)
    }

    #[tokio::test]
    async fn who_was_let_in_before_a_stop_and_comes_after_it_is_told() {
        let (places, stop) = (Places::new(9, 9, 9), CancellationToken::new());
        let (_, loops) = start(&places, &stop);
        let [(present, mut of_present), (late, mut of_late)] = [(); 2].map(|()| mpsc::unbounded_channel());
        let place = places.take(None, Clock.now()).unwrap();
        loops.join(present).await;
        of_present.recv().await.unwrap();
        stop.cancel();
        assert_eq!((of_present.recv().await, of_present.recv().await), (Some(()), None));
        loops.join(late).await;
        assert_eq!((of_late.recv().await, of_late.recv().await), (Some(()), None));
        drop(place);
        loops.doors[0].closed().await;
    }

    #[tokio::test]
    async fn a_panic_is_the_end_of_one_client() {
        for fault in [Told::Panic, Told::Wait] {
            let stop = CancellationToken::new();
            let (_, loops) = start(&Places::new(9, 9, 9), &stop);
            let [(first, mut of_first), (second, mut of_second)] = [(); 2].map(|()| mpsc::unbounded_channel());
            loops.join(first).await;
            loops.join(second).await;
            loops.call(0, 0, fault).await;
            loops.call(0, 1, Told::Nothing).await;
            assert_eq!((of_first.recv().await, of_first.recv().await), (Some(()), None));
            for _ in 0..2 {
                of_second.recv().await.unwrap();
            }
            stop.cancel();
            assert_eq!((of_second.recv().await, of_second.recv().await), (Some(()), None));
        }
    }

    #[tokio::test]
    async fn a_loop_that_breaks_stops_all_of_them() {
        let stop = CancellationToken::new();
        let (_, loops) = start(&Places::new(9, 9, 9), &stop);
        let (newcomer, of_newcomer) = mpsc::unbounded_channel();
        drop(of_newcomer);
        loops.join(newcomer).await;
        stop.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_sent_away_one_after_the_other() {
        const CLIENTS: u32 = 100;
        let (stop, second) = (CancellationToken::new(), Duration::from_secs(1));
        let (hub, loops) = start(&Places::new(9, 9, 9), &stop);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let (newcomer, mut client) = mpsc::unbounded_channel();
            loops.join(newcomer).await;
            client.recv().await.unwrap();
            clients.push(client);
        }
        let start = Clock.now();
        assert_eq!(hub.leave.begin(usize::MAX, second), second);
        stop.cancel();
        for (number, mut client) in (0..).zip(clients) {
            assert_eq!((client.recv().await, client.recv().await), (Some(()), None));
            let (after, turn) = (Clock.now() - start, second * number / CLIENTS);
            // tokio's timers count milliseconds.
            assert!(after >= turn && after <= turn + Duration::from_millis(2), "{number}: {after:?}");
        }
    }
}
