//! What is to go out: everything that is published here under the exported subjects, and what was decided to be for a
//! member of a queue group elsewhere.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use ratebus_bus::{Bus, Subscribe, Subscription};
use ratebus_model::{Message, Pattern, Policy};

use crate::{peers::Member, table};

/// Subjects under which each process says how it is itself: the newest is enough, and nobody else could say it.
const OWN_STATES: [&str; 1] = ["health."];
/// How many messages that each count wait to be sent, of each pattern.
const QUEUE: usize = 4096;
/// The newest value of how many subjects waits to be sent, of each pattern: ten times the pairs of the largest exchange.
const SUBJECTS: usize = 16_384;
/// How many members of queue groups elsewhere are served at most.
const MEMBERS: usize = 1024;

/// The subscriptions of a link to its bus. They take turns.
pub(crate) struct Outbound {
    bus: Bus,
    ways: Vec<Way>,
    turn: usize,
}

struct Way {
    /// Whom it leads to; none: to everybody.
    member: Option<Member>,
    subscription: Subscription,
}

impl Outbound {
    /// Everything under `exports`. Of what says how something is the newest is enough; of anything else the oldest goes when
    /// too much waits.
    pub(crate) fn new(bus: Bus, exports: impl IntoIterator<Item = Pattern>) -> Self {
        let way = |pattern: Pattern| {
            let is_state = table::STATES.iter().chain(&OWN_STATES).any(|prefix| pattern.as_str().starts_with(prefix));
            let (policy, capacity) = if is_state { (Policy::Conflate, SUBJECTS) } else { (Policy::DropOldest, QUEUE) };
            let subscribe = Subscribe::new(format!("bus {pattern}"), pattern);
            let subscription = bus.subscribe(Subscribe { policy, capacity, replay: true, far: true, ..subscribe });
            Way { member: None, subscription }
        };
        let ways = exports.into_iter().map(way).collect();
        Self { bus, ways, turn: 0 }
    }

    /// From now on these are the members of queue groups elsewhere. What is not sent to others yet is lost.
    pub(crate) fn serve(&mut self, mut members: Vec<Member>) {
        members.truncate(MEMBERS);
        self.ways.retain(|way| way.member.as_ref().is_none_or(|member| members.contains(member)));
        for member in members {
            if self.ways.iter().any(|way| way.member.as_ref() == Some(&member)) {
                continue;
            }
            let subscribe = Subscribe::new("bus members elsewhere", member.pattern.clone());
            let (policy, queue) = (Policy::DropNewest, Some(member.group.clone()));
            let subscription = self.bus.subscribe(Subscribe { policy, capacity: QUEUE, queue, far: true, ..subscribe });
            self.ways.push(Way { member: Some(member), subscription });
        }
    }

    /// The next message, and the member it is for; `None` once the bus is closed. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<(Option<Member>, Arc<Message>)> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message if there is one now.
    pub(crate) async fn next_now(&mut self) -> Option<(Option<Member>, Arc<Message>)> {
        poll_fn(|cx| match self.poll_recv(cx) {
            Poll::Ready(message) => Poll::Ready(message),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Option<Member>, Arc<Message>)>> {
        let mut closed = true;
        for _ in 0..self.ways.len() {
            self.turn = (self.turn + 1) % self.ways.len();
            let Way { member, subscription } = &mut self.ways[self.turn];
            match subscription.poll_recv(cx) {
                Poll::Ready(Some(message)) => return Poll::Ready(Some((member.clone(), message))),
                Poll::Ready(None) => {}
                Poll::Pending => closed = false,
            }
        }
        if closed { Poll::Ready(None) } else { Poll::Pending }
    }
}
