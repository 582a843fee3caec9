use std::{sync::Arc, time::Duration};

use crate::{Headers, Payload, Subject};

/// A message to be published; the bus adds version and time.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where it goes.
    pub subject: Subject,
    /// Where an answer is awaited.
    pub reply: Option<Subject>,
    /// Named texts.
    pub headers: Headers,
    /// What it says.
    pub payload: Payload,
}

impl Outgoing {
    /// A message without headers that expects no answer.
    pub fn new(subject: Subject, payload: impl Into<Payload>) -> Self {
        Self { subject, reply: None, headers: Headers::new(), payload: payload.into() }
    }
}

/// What happens to a message for an inbox that is full. Every drop is counted and reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// A newer value takes the place of an unread one of its subject; with too many subjects the oldest value goes.
    Conflate,
    /// The oldest unread message goes.
    DropOldest,
    /// The new message goes.
    DropNewest,
    /// A publisher that can wait does so for room, then the message goes.
    Block {
        /// How long at most.
        timeout: Duration,
    },
    /// The subscription is closed; what it holds can still be read.
    Disconnect,
}

/// Why a message did not reach everybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A subscription with [`Policy::Block`] has no room and goes without this message, which is counted there. All
    /// others have it: publishing it again would deliver it to them twice.
    #[error("subscription {subscription:?} is full ({delivered} others have the message)")]
    Full {
        /// The name of the (first) full subscription.
        subscription: Arc<str>,
        /// How many subscriptions the message was handed to.
        delivered: usize,
    },
    /// The bus is closed; nobody has the message.
    #[error("the bus is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens on the subject.
    #[error("nobody answers on this subject")]
    NoResponders,
    /// Somebody listens, and did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The bus is closed.
    #[error("the bus is closed")]
    Closed,
}
