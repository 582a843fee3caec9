use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use ratebus_model::{Message, Pattern, Policy};

use crate::{bus::Hub, effects::Effects, inbox::Inbox};

/// What is wanted, and what happens when it is not read in time.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Who asks: the label of metrics and reports, so from a bounded set.
    pub name: Arc<str>,
    /// Which subjects.
    pub pattern: Pattern,
    /// What happens to a message that does not fit.
    pub policy: Policy,
    /// How much fits: messages, or distinct subjects under [`Policy::Conflate`]. At least 1.
    pub capacity: usize,
    /// A queue group: each message goes to one of its members, in this process if one here has room.
    pub queue: Option<Arc<str>>,
    /// Whether the last value of every matching subject comes first. The members of a queue group share the messages, so
    /// that nobody could say whose a last value is: it is ignored with `queue`.
    pub replay: bool,
    /// Whether it carries messages to another process. It has what is published here and nothing that was
    /// [imported](crate::Bus::import), does not count as a reader, and of a queue group it is asked when no member here
    /// has room.
    pub far: bool,
}

impl Subscribe {
    /// The newest value of up to 1,024 subjects, without the last ones.
    pub fn new(name: impl Into<Arc<str>>, pattern: impl Into<Pattern>) -> Self {
        let (name, pattern) = (name.into(), pattern.into());
        Self { name, pattern, policy: Policy::Conflate, capacity: 1024, queue: None, replay: false, far: false }
    }
}

/// What a subscription went through. `accepted` = read + conflated + pending + dropped from the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages taken into the inbox.
    pub accepted: u64,
    /// Unread values replaced by newer ones of their subject.
    pub conflated: u64,
    /// Messages that went because there was no room.
    pub dropped: u64,
    /// Whether it was closed because there was no room.
    pub disconnected: bool,
    /// Messages in the inbox now.
    pub pending: usize,
}

/// The reading end of a subscription. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    inbox: Arc<Inbox>,
    /// The last values, to be read before the inbox.
    replay: VecDeque<Arc<Message>>,
    hub: Weak<Hub>,
}

impl Subscription {
    pub(crate) fn new(inbox: Arc<Inbox>, replay: VecDeque<Arc<Message>>, hub: Weak<Hub>) -> Self {
        Self { inbox, replay, hub }
    }

    /// The next message; `None` once the bus is closed, or this subscription is (see [`Policy::Disconnect`]), and all
    /// is read. Cancel-safe: a dropped call takes nothing.
    pub async fn recv(&mut self) -> Option<Arc<Message>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message>>> {
        match self.replay.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None => self.inbox.poll_pop(cx),
        }
    }

    /// The next message if there is one now; all published before the call count.
    pub fn try_recv(&mut self) -> Option<Arc<Message>> {
        self.replay.pop_front().or_else(|| {
            self.catch_up();
            self.inbox.try_pop()
        })
    }

    /// Waits for a message, then moves all that are there, up to `max`, to the end of `into`. Returns how many; 0 where
    /// [`recv`](Self::recv) returns `None`. Cancel-safe.
    pub async fn recv_many(&mut self, into: &mut Vec<Arc<Message>>, max: usize) -> usize {
        if max == 0 {
            return 0;
        }
        if !self.replay.is_empty() {
            let count = self.replay.len().min(max);
            into.extend(self.replay.drain(..count));
            return count;
        }
        poll_fn(|cx| self.inbox.poll_take(cx, into, max)).await
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        self.catch_up();
        self.inbox.stats()
    }

    /// Takes in what is still on the way.
    fn catch_up(&self) {
        let mut effects = Effects::default();
        self.inbox.lane.fill(&mut effects);
        effects.settle(&self.hub);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inbox.abandon();
        if let Some(hub) = self.hub.upgrade() {
            hub.unsubscribe(&self.inbox);
        }
    }
}
