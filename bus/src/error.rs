use std::sync::Arc;

/// Why a message did not reach everybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A subscription with [`Policy::Block`](crate::Policy::Block) has no room and goes without this message, which is
    /// counted there. All others have it: publishing it again would deliver it to them twice.
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
