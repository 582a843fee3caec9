use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    mem, ptr,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use metrics::Counter;
use ratebus_model::{Message, Pattern, Policy};
use tokio::{sync::oneshot, task::coop, time::Instant};

use crate::{
    effects::Effects,
    lane::Lane,
    line::{InLine, Waiting},
    lock,
    queue::{Newest, Queue},
    subscription::{Stats, Subscribe},
};

/// How often the drops of one subscription are reported, at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What one subscription has not read yet. Publishers put messages in, the [`Subscription`](crate::Subscription) takes
/// them out. Nothing waits while it holds the lock, and a reader is woken only if it sleeps.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) name: Arc<str>,
    pub(crate) pattern: Pattern,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) policy: Policy,
    /// Whether it leads to another process.
    pub(crate) far: bool,
    /// The way here.
    pub(crate) lane: Arc<Lane>,
    capacity: usize,
    state: Mutex<State>,
    dropped: Counter,
    conflated: Counter,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Publishers that wait for room under [`Policy::Block`], in the order of publishing, so that no later message
    /// overtakes theirs.
    line: VecDeque<Waiting>,
    /// Set while the reader sleeps.
    reader: Option<Waker>,
    closed: bool,
    stats: Stats,
    reported_at: Option<Instant>,
}

/// What would become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nobody reads any more.
    Closed,
    /// The policy would apply.
    Full,
    /// It fits.
    Free,
}

/// What became of a message offered to an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The inbox has it, or dropped one as its policy says.
    Taken,
    /// [`Policy::Block`], and no room.
    Full,
    /// Nobody reads any more.
    Closed,
}

impl PartialEq for Inbox {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl Eq for Inbox {}

impl Hash for Inbox {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ptr::hash(self, state);
    }
}

impl Inbox {
    pub(crate) fn new(subscribe: Subscribe, lane: Arc<Lane>) -> Self {
        let Subscribe { name, pattern, policy, capacity, queue: group, replay: _, far } = subscribe;
        let queue = match policy {
            Policy::Conflate => Queue::Newest(Newest::default()),
            _ => Queue::Fifo(VecDeque::new()),
        };
        let state = State {
            queue,
            line: VecDeque::new(),
            reader: None,
            closed: false,
            stats: Stats::default(),
            reported_at: None,
        };
        let label = name.to_string();
        Self {
            dropped: metrics::counter!("ratebus_bus_dropped_total", "subscription" => label.clone()),
            conflated: metrics::counter!("ratebus_bus_conflated_total", "subscription" => label),
            capacity: capacity.max(1),
            state: Mutex::new(state),
            name,
            pattern,
            group,
            policy,
            far,
            lane,
        }
    }

    pub(crate) fn blocks(&self) -> bool {
        matches!(self.policy, Policy::Block { .. })
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = lock(&self.state);
        Stats { pending: state.queue.len(), ..state.stats }
    }

    pub(crate) fn room(&self) -> Room {
        let state = lock(&self.state);
        match (state.closed, self.has_room(&state)) {
            (true, _) => Room::Closed,
            (false, false) => Room::Full,
            (false, true) => Room::Free,
        }
    }

    /// Puts messages in, oldest first. What does not fit goes the way the policy says.
    pub(crate) fn offer(
        self: &Arc<Self>,
        messages: impl IntoIterator<Item = Arc<Message>>,
        effects: &mut Effects,
    ) -> Offered {
        let mut state = lock(&self.state);
        if state.closed {
            return Offered::Closed;
        }
        let (dropped, conflated) = (state.stats.dropped, state.stats.conflated);
        let mut offered = Offered::Taken;
        for message in messages {
            offered = self.put(&mut state, message);
        }
        if state.stats.conflated > conflated {
            self.conflated.increment(state.stats.conflated - conflated);
        }
        if state.stats.dropped > dropped {
            self.dropped.increment(state.stats.dropped - dropped);
            self.report(&mut state, effects);
        }
        if state.closed {
            effects.disconnected.push(self.clone());
        }
        effects.wakers.extend(state.reader.take());
        offered
    }

    /// Puts a message in; without room, its publisher gets a place in the line.
    pub(crate) fn offer_in_line(
        self: &Arc<Self>,
        message: &Arc<Message>,
        timeout: Duration,
        effects: &mut Effects,
    ) -> Result<Offered, InLine> {
        let mut state = lock(&self.state);
        if state.closed {
            return Ok(Offered::Closed);
        }
        if !self.has_room(&state) {
            let (admit, admitted) = oneshot::channel();
            state.line.push_back(Waiting { message: message.clone(), admit });
            return Err(InLine::new(self.clone(), admitted, timeout));
        }
        let offered = self.put(&mut state, message.clone());
        effects.wakers.extend(state.reader.take());
        Ok(offered)
    }

    /// A publisher in line gave up. Without `effects` there is nobody left to send a report.
    pub(crate) fn leave_line(self: &Arc<Self>, effects: Option<&mut Effects>) {
        let mut state = lock(&self.state);
        state.line.retain(|waiting| !waiting.admit.is_closed());
        state.stats.dropped += 1;
        self.dropped.increment(1);
        if let Some(effects) = effects {
            self.report(&mut state, effects);
        }
    }

    /// The oldest message; `None` once closed and empty.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.poll(cx, |state| self.pop(state))
    }

    /// Moves up to `max` messages to the end of `into`. How many; 0 once closed and empty.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<Arc<Message>>, max: usize) -> Poll<usize> {
        self.poll(cx, |state| {
            let count = state.queue.len().min(max);
            state.queue.take(count, into);
            self.admit(state);
            (count > 0).then_some(count)
        })
        .map(Option::unwrap_or_default)
    }

    pub(crate) fn try_pop(&self) -> Option<Arc<Message>> {
        self.pop(&mut lock(&self.state))
    }

    /// Takes nothing more in; what is in stays for the reader.
    pub(crate) fn close(&self) {
        let (reader, line) = {
            let mut state = lock(&self.state);
            state.closed = true;
            (state.reader.take(), mem::take(&mut state.line))
        };
        drop(line);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The reader is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        lock(&self.state).queue.clear();
    }

    fn has_room(&self, state: &State) -> bool {
        state.queue.len() < self.capacity && state.line.is_empty()
    }

    fn put(&self, state: &mut State, message: Arc<Message>) -> Offered {
        if state.closed {
            return Offered::Closed;
        }
        let full = !self.has_room(state);
        match (&mut state.queue, self.policy) {
            (Queue::Newest(newest), _) => {
                if newest.put(message) {
                    state.stats.conflated += 1;
                } else if full {
                    newest.pop();
                    state.stats.dropped += 1;
                }
            }
            (Queue::Fifo(fifo), _) if !full => fifo.push_back(message),
            (Queue::Fifo(fifo), Policy::DropOldest) => {
                fifo.pop_front();
                fifo.push_back(message);
                state.stats.dropped += 1;
            }
            (_, Policy::Disconnect) => {
                state.stats.dropped += 1;
                state.stats.disconnected = true;
                state.closed = true;
                return Offered::Closed;
            }
            _ => {
                state.stats.dropped += 1;
                return if self.blocks() { Offered::Full } else { Offered::Taken };
            }
        }
        state.stats.accepted += 1;
        Offered::Taken
    }

    fn pop(&self, state: &mut State) -> Option<Arc<Message>> {
        let message = state.queue.pop();
        self.admit(state);
        message
    }

    /// Lets the first in line in, as far as there is room.
    fn admit(&self, state: &mut State) {
        while !state.line.is_empty() && state.queue.len() < self.capacity {
            let (Some(waiting), Queue::Fifo(fifo)) = (state.line.pop_front(), &mut state.queue) else { return };
            if waiting.admit.send(()).is_ok() {
                fifo.push_back(waiting.message);
                state.stats.accepted += 1;
            }
        }
    }

    fn poll<T>(&self, cx: &mut Context<'_>, take: impl FnOnce(&mut State) -> Option<T>) -> Poll<Option<T>> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut state = lock(&self.state);
        let taken = take(&mut state);
        if taken.is_none() && !state.closed {
            if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                state.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        budget.made_progress();
        Poll::Ready(taken)
    }

    fn report(self: &Arc<Self>, state: &mut State, effects: &mut Effects) {
        let now = Instant::now();
        if state.reported_at.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            state.reported_at = Some(now);
            effects.slow.push((self.clone(), state.stats));
        }
    }
}
