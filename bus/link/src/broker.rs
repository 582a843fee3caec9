//! What a broker must do for the link, which does the rest.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ratebus_model::{Pattern, Subject};
use ratebus_sdk::Error;

/// A broker that can be connected to again and again.
#[async_trait]
pub(crate) trait Broker: Send + Sync {
    /// Connects, and subscribes to the patterns: everything sent from then on comes.
    async fn connect(&self, patterns: &[Pattern]) -> Result<Connection, Error>;
}

/// The two directions of a connection. It ends with the first error of either.
pub(crate) struct Connection {
    pub(crate) outlet: Box<dyn Outlet>,
    pub(crate) intake: Box<dyn Intake>,
    /// What the broker keeps under the patterns, as it was when the subscriptions stood.
    pub(crate) kept: Vec<(Subject, Bytes)>,
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) subject: Subject,
    pub(crate) text: Bytes,
    pub(crate) keep: Keep,
}

/// What the broker is to have for those who join, if it keeps anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// What is sent, for so long.
    This(Duration),
    /// What it has.
    AsItIs,
    /// Nothing any more.
    Nothing,
}

/// The way out.
#[async_trait]
pub(crate) trait Outlet: Send {
    /// Hands all parcels to the broker, in order.
    ///
    /// Not cancel-safe: when it is dropped, nobody knows which were sent, and the connection is no good any more.
    async fn send(&mut self, parcels: Vec<Parcel>) -> Result<(), Error>;
}

/// The way in.
#[async_trait]
pub(crate) trait Intake: Send {
    /// What came next. Cancel-safe.
    async fn next(&mut self) -> Result<(Subject, Bytes), Error>;
}
