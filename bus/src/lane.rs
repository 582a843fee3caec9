use std::{
    future::poll_fn,
    hash::{Hash, Hasher},
    mem,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use ratebus_model::Message;
use tokio::runtime::Handle;

use crate::{bus::Hub, effects::Effects, inbox::Inbox, lock};

/// How many messages a lane holds before publishers do the relay's work.
const CAPACITY: usize = 512;

/// The way of messages to the subscriptions of one runtime.
///
/// Waking a sleeping thread costs more than all else a publish does. So a message is handed to a runtime once, however
/// many of its tasks want it, and wakes at most one of them: the relay, which fills the inboxes and wakes their readers
/// from inside, and sleeps only when nothing came meanwhile. Whoever finds a lane full, or without a relay, does the
/// relay's work; messages keep their order whoever does it.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pending: Apart<Mutex<Pending>>,
    /// Held while inboxes are filled. An empty batch that keeps its memory.
    filling: Apart<Mutex<Batch>>,
}

/// On cache lines of its own: publishers write the one while the relay works on the other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    /// Whether somebody relays.
    relayed: bool,
    closed: bool,
    /// Set while the relay sleeps.
    relay: Option<Waker>,
}

/// Messages in the order of publishing.
#[derive(Debug, Default)]
struct Batch {
    messages: Vec<Arc<Message>>,
    /// Where they go, and how many in a row go there.
    runs: Vec<(Arc<Route>, usize)>,
}

/// The inboxes on one lane that want a subject.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) lane: Arc<Lane>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
}

impl PartialEq for Route {
    /// Each inbox is on one lane.
    fn eq(&self, other: &Self) -> bool {
        self.inboxes == other.inboxes
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inboxes.hash(state);
    }
}

impl Lane {
    /// A lane to the tasks of a runtime.
    pub(crate) fn relayed(runtime: &Handle, hub: Weak<Hub>) -> Arc<Self> {
        let lane = Arc::new(Self::default());
        lock(&lane.pending.0).relayed = true;
        runtime.spawn(relay(Relay { lane: lane.clone(), hub }));
        lane
    }

    pub(crate) fn is_relayed(&self) -> bool {
        lock(&self.pending.0).relayed
    }

    /// Puts a message on the way.
    pub(crate) fn push(self: &Arc<Self>, route: &Arc<Route>, message: Arc<Message>, effects: &mut Effects) {
        let mut pending = lock(&self.pending.0);
        pending.batch.push(route, message);
        effects.wakers.extend(pending.relay.take());
        if !pending.relayed || pending.batch.messages.len() >= CAPACITY {
            effects.lanes.push(self.clone());
        }
    }

    /// Fills the inboxes with all that is on the way.
    pub(crate) fn fill(&self, effects: &mut Effects) {
        let mut batch = lock(&self.filling.0);
        mem::swap(&mut *batch, &mut lock(&self.pending.0).batch);
        batch.deliver(effects);
    }

    /// As [`fill`](Self::fill), for the relay: it sleeps if nothing is on the way. False once closed.
    fn poll_fill(&self, cx: &mut Context<'_>, effects: &mut Effects) -> Poll<bool> {
        let mut batch = lock(&self.filling.0);
        {
            let mut pending = lock(&self.pending.0);
            if pending.batch.messages.is_empty() {
                if pending.closed {
                    return Poll::Ready(false);
                }
                pending.relay = Some(cx.waker().clone());
                return Poll::Pending;
            }
            mem::swap(&mut *batch, &mut pending.batch);
        }
        batch.deliver(effects);
        Poll::Ready(true)
    }

    /// Ends the relay.
    pub(crate) fn close(&self) {
        let relay = {
            let mut pending = lock(&self.pending.0);
            pending.closed = true;
            pending.relay.take()
        };
        if let Some(relay) = relay {
            relay.wake();
        }
    }
}

impl Batch {
    fn push(&mut self, route: &Arc<Route>, message: Arc<Message>) {
        self.messages.push(message);
        match self.runs.last_mut() {
            Some((last, count)) if Arc::ptr_eq(last, route) => *count += 1,
            _ => self.runs.push((route.clone(), 1)),
        }
    }

    fn deliver(&mut self, effects: &mut Effects) {
        let mut messages = self.messages.drain(..);
        for (route, count) in self.runs.drain(..) {
            let Some((last, others)) = route.inboxes.split_last() else { continue };
            for inbox in others {
                inbox.offer(messages.as_slice()[..count].iter().cloned(), effects);
            }
            let mut run = messages.by_ref().take(count);
            last.offer(&mut run, effects);
            // A closed inbox took none of them.
            run.for_each(drop);
        }
    }
}

/// The task of a lane. When its runtime ends, the lane goes on without it.
struct Relay {
    lane: Arc<Lane>,
    hub: Weak<Hub>,
}

async fn relay(relay: Relay) {
    let mut effects = Effects::default();
    while poll_fn(|cx| relay.lane.poll_fill(cx, &mut effects)).await {
        effects.settle(&relay.hub);
        // Readers run first; what is published meanwhile needs no wake.
        tokio::task::yield_now().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        lock(&self.lane.pending.0).relayed = false;
        let mut effects = Effects::default();
        self.lane.fill(&mut effects);
        effects.settle(&self.hub);
    }
}
