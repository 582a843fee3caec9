use std::{
    future::poll_fn,
    sync::Arc,
    task::{self, Poll},
};

use ratebus_model::{Message, Pattern, Policy};

/// What a sink wants to hear, and what happens when it does not keep up.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Which subjects.
    pub pattern: Pattern,
    /// What to do with a message that does not fit.
    pub policy: Policy,
    /// How much fits: messages, or distinct subjects under [`Policy::Conflate`].
    pub capacity: usize,
    /// Members of one queue group share the messages between them, those in other processes too: each goes to one member, of
    /// the publisher's own process if there is one with room.
    pub queue: Option<String>,
    /// Whether the last value of each subject comes first.
    pub replay: bool,
}

impl Interest {
    /// How many distinct subjects fit unless said otherwise: ten times the pairs of the largest exchange.
    const CAPACITY: usize = 16_384;

    /// The newest value of every subject under `pattern`, the last ones first: what state such as rates wants.
    pub fn latest(pattern: Pattern) -> Self {
        Self { pattern, policy: Policy::Conflate, capacity: Self::CAPACITY, queue: None, replay: true }
    }
}

/// One subscription as the bus gives it.
pub trait PollInbox: Send {
    /// The next message; `None` once closed.
    fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Arc<Message>>>;
}

/// Where a sink's messages arrive. Interests take turns, so that a busy one cannot starve another.
pub struct Inbox {
    subscriptions: Vec<Box<dyn PollInbox>>,
    turn: usize,
}

impl Inbox {
    /// An inbox over `subscriptions`.
    pub fn new(subscriptions: Vec<Box<dyn PollInbox>>) -> Self {
        Self { subscriptions, turn: 0 }
    }

    /// The next message, or `None` once every subscription is closed (at once if there are none).
    ///
    /// Cancel-safe: a message is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<Arc<Message>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`Inbox::recv`], for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Arc<Message>>> {
        let mut polls = self.subscriptions.len();
        while polls > 0 {
            polls -= 1;
            self.turn = if self.turn + 1 < self.subscriptions.len() { self.turn + 1 } else { 0 };
            match self.subscriptions[self.turn].poll_recv(cx) {
                Poll::Ready(Some(message)) => return Poll::Ready(Some(message)),
                Poll::Ready(None) => {
                    self.subscriptions.swap_remove(self.turn);
                    // The last one has moved here and has not been asked yet.
                    self.turn = self.turn.checked_sub(1).unwrap_or(self.subscriptions.len().saturating_sub(1));
                }
                Poll::Pending => {}
            }
        }
        if self.subscriptions.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}
