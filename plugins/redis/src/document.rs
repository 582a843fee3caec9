use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ratebus_model::{
    Arrival, Limits, Pair, Payload, Quote, QuoteView, Rate, RateKind, RateView, SourceName, Status, Timestamp, Version,
};
use serde::Serialize;

/// The version of the JSON. It changes when a member goes away or means something else, not when one is added.
pub(crate) const VERSION: u32 = 1;

/// What is published: a rate or a quote.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Rate(Arc<Rate>),
    Quote(Arc<Quote>),
}

impl Value {
    /// The rate or the quote in a payload, if it has one.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        match payload {
            Payload::Rate(rate) => Some(Self::Rate(Arc::clone(rate))),
            Payload::Quote(quote) => Some(Self::Quote(Arc::clone(quote))),
            _ => None,
        }
    }

    /// What names of channels and keys are made of.
    pub(crate) fn labels(&self) -> (Pair, SourceName, RateKind) {
        match self {
            Self::Rate(rate) => (rate.pair, rate.source, rate.value.kind()),
            Self::Quote(quote) => (quote.pair, quote.source, quote.kind),
        }
    }

    pub(crate) fn version(&self) -> Version {
        match self {
            Self::Rate(rate) => rate.version,
            Self::Quote(quote) => quote.version,
        }
    }

    pub(crate) fn confirmed_at(&self) -> Instant {
        match self {
            Self::Rate(rate) => rate.confirmed_at,
            Self::Quote(quote) => quote.confirmed_at,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Rate(rate) => rate.limits,
            Self::Quote(quote) => quote.limits,
        }
    }

    pub(crate) fn status(&self, now: Instant) -> Status {
        match self {
            Self::Rate(rate) => rate.status(now),
            Self::Quote(quote) => quote.status(now),
        }
    }

    /// What is said of it last when its pair is served no more.
    pub(crate) fn ended(&self) -> Self {
        match self {
            Self::Rate(rate) => Self::Rate(Arc::clone(rate)),
            Self::Quote(quote) => Self::Quote(Arc::new(quote.not_served())),
        }
    }

    /// Its JSON as of `now`, at which it has this status: the object of `/v1` with what is needed to judge it away from here.
    pub(crate) fn document(&self, status: Status, now: Arrival) -> serde_json::Result<String> {
        let confirmed_time = before(now.time, now.at.saturating_duration_since(self.confirmed_at()));
        let body = match self {
            Self::Rate(rate) => Body::Rate(rate.view(status)),
            Self::Quote(quote) => Body::Quote(quote.view(status)),
        };
        serde_json::to_string(&Document { v: VERSION, confirmed_time, body })
    }
}

/// The moment `span` before `time`.
pub(crate) fn before(time: Timestamp, span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.micros().saturating_sub(micros))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'v> {
    v: u32,
    /// The last moment at which the feed vouched for the price, by the publisher's clock.
    confirmed_time: Timestamp,
    #[serde(flatten)]
    body: Body<'v>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Body<'v> {
    Rate(RateView),
    Quote(QuoteView<'v>),
}
