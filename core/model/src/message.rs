use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Pair, Quote, Rate, SourceName, Spread, Subject, Timestamp, Version};

/// Named texts that travel with a message.
pub type Headers = Vec<(Box<str>, Box<str>)>;

/// One message on the bus.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it goes.
    pub subject: Subject,
    /// Where an answer is awaited.
    pub reply: Option<Subject>,
    /// Named texts.
    pub headers: Headers,
    /// What it says.
    pub payload: Payload,
    /// Its place in the publisher's run, per subject: consumers drop what is not newer.
    pub version: Version,
    /// When it was published, by the publisher's wall clock.
    pub published_at: Timestamp,
}

/// What a message says. Shared, so that a copy for each subscriber costs a reference count.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A source's price.
    Rate(Arc<Rate>),
    /// The customers' price.
    Quote(Arc<Quote>),
    /// An administrator's spread.
    Spread(Arc<Spread>),
    /// The pairs of a source.
    Pairs(Arc<PairList>),
    /// Nothing any more: what was said before under the subject holds no longer, and is kept nowhere. A price that only
    /// ages says so itself.
    Gone,
    /// Anything else.
    Bytes(Bytes),
}

/// The pairs a source was asked to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairList {
    /// The source.
    pub source: SourceName,
    /// Each pair and how its subscription stands, in the config's order.
    pub pairs: Vec<(Pair, PairState)>,
}

/// How a pair's subscription at its source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum PairState {
    /// Asked for, not yet acknowledged.
    Pending,
    /// Acknowledged.
    Subscribed,
    /// Refused by the exchange for good, in its own words.
    Refused(String),
}

macro_rules! payload_from {
    ($($type:ident => $variant:ident),*) => {$(
        impl From<$type> for Payload {
            fn from(value: $type) -> Self {
                Self::$variant(Arc::new(value))
            }
        }
        impl From<Arc<$type>> for Payload {
            fn from(value: Arc<$type>) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
payload_from!(Rate => Rate, Quote => Quote, Spread => Spread, PairList => Pairs);

impl From<Bytes> for Payload {
    fn from(value: Bytes) -> Self {
        Self::Bytes(value)
    }
}
