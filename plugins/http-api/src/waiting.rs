//! Requests that wait: a client shows the version that it has (`If-None-Match`) and is answered when there is another one,
//! or when it has waited for as long as it said (`?wait=`).

use std::{
    collections::HashMap,
    convert::Infallible,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::{
        HeaderMap, StatusCode,
        header::{ETAG, IF_NONE_MATCH},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use metrics::{Gauge, gauge};
use ratebus_model::{Message, Payload, Subject, Version};
use ratebus_sdk::FieldProblem;
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{sleep, sleep_until},
};
use utoipa::IntoParams;

use crate::{asset, headers::knows, problem::Problem, state::App};

/// How long a client may wait, in seconds.
const WAITS: RangeInclusive<u64> = 1..=60;
/// How often those who wait look though nothing was published: prices age, and pairs come and go.
const LOOK: Duration = Duration::from_secs(1);

/// Those who wait, and what wakes them.
pub(crate) struct Waiting {
    changes: watch::Sender<()>,
    places: Semaphore,
    requests: Gauge,
}

impl Waiting {
    /// At most `max` wait at once.
    pub(crate) fn new(max: usize) -> Self {
        let places = Semaphore::new(max.min(Semaphore::MAX_PERMITS));
        Self { changes: watch::Sender::new(()), places, requests: gauge!("ratebus_waiting_requests") }
    }

    fn place(&self) -> Result<Place<'_>, Problem> {
        let Ok(permit) = self.places.try_acquire() else {
            metrics::counter!("ratebus_waits_refused_total").increment(1);
            return Err(Problem::unavailable("As many requests as are allowed wait already."));
        };
        self.requests.increment(1);
        Ok(Place { requests: &self.requests, _permit: permit })
    }
}

/// A place among those who wait, given back when dropped.
struct Place<'a> {
    requests: &'a Gauge,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.requests.decrement(1);
    }
}

/// Which version of each price was heard last: what merely vouches for one changes no answer.
#[derive(Default)]
pub(crate) struct Heard(HashMap<Subject, Version>);

impl Heard {
    /// Wakes those who wait if this is a price that was not heard before. Returns whether it is a price at all.
    pub(crate) fn tell(&mut self, message: &Message, waiting: &Waiting) -> bool {
        let version = match &message.payload {
            Payload::Rate(rate) => rate.version,
            Payload::Quote(quote) => quote.version,
            Payload::Gone => {
                self.0.remove(&message.subject);
                waiting.changes.send_replace(());
                return true;
            }
            _ => return false,
        };
        if self.0.insert(message.subject.clone(), version) != Some(version) {
            waiting.changes.send_replace(());
        }
        true
    }
}

/// For how long a request may wait.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// With `If-None-Match`: how long to wait for another version, `1s` to `60s`, before the answer is 304.
    #[param(nullable = false, pattern = "^([1-9]|[1-5][0-9]|60)s$", example = "20s")]
    pub(crate) wait: Option<String>,
}

impl Wait {
    /// The time, if one is given.
    pub(crate) fn checked(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = &self.wait else { return Ok(None) };
        let digits = text.strip_suffix('s').filter(|digits| digits.starts_with(|first| ('1'..='9').contains(&first)));
        match digits.and_then(|digits| digits.parse().ok()).filter(|seconds| WAITS.contains(seconds)) {
            Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
            None => Err(fault("expected 1s to 60s")),
        }
    }
}

/// The time that a query asks for.
pub(crate) fn checked(query: Result<Query<Wait>, QueryRejection>) -> Result<Option<Duration>, Problem> {
    let Query(wait) = query.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    wait.checked()
}

/// 422: something is wrong with `wait`.
fn fault(message: &str) -> Problem {
    Problem::fields(vec![FieldProblem { field: "wait".to_owned(), message: message.to_owned() }])
}

/// The versions that the client has.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Known {
    /// The `ETag` of what the client has: if there is nothing else, the answer is 304 without a body.
    #[param(rename = "If-None-Match", value_type = Option<String>, nullable = false)]
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let tags = parts.headers.get_all(IF_NONE_MATCH).iter().map(|tag| (IF_NONE_MATCH, tag.clone()));
        Ok(Self { headers: tags.collect() })
    }
}

impl Known {
    /// Whether it is `*`, any version at all: then there is none to wait for.
    fn is_any(&self) -> bool {
        self.headers.values().any(|tags| tags == "*")
    }
}

/// A weak entity tag of what is shown, its age left out: `shown` names each version and its status.
pub(crate) fn tag(shown: &str) -> String {
    format!("W/{}", asset::etag(shown.as_bytes()))
}

/// Answers with what `look` sees, a tag and how to show it, once it is not what the client has; with 304 when the time is
/// over, at once without one, or when the server stops. Cancel-safe: who goes away leaves nothing behind.
pub(crate) async fn answer<R: FnOnce() -> Response>(
    app: &App,
    known: &Known,
    wait: Option<Duration>,
    look: impl Fn(Instant) -> Result<(String, R), Problem>,
) -> Result<Response, Problem> {
    let mut changes = app.waiting.changes.subscribe();
    let until = tokio::time::Instant::now() + wait.filter(|_| !known.is_any()).unwrap_or_default();
    let mut place = None;
    loop {
        let tag = {
            let (tag, show) = look(app.ctx.clock().now())?;
            if !knows(&known.headers, &tag) {
                return Ok(([(ETAG, tag)], show()).into_response());
            }
            tag
        };
        if tokio::time::Instant::now() >= until || app.ctx.cancel_token().is_cancelled() {
            return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
        }
        if place.is_none() {
            place = Some(app.waiting.place()?);
        }
        tokio::select! {
            () = app.ctx.cancelled() => {}
            () = sleep_until(until) => {}
            () = sleep(LOOK) => {}
            // The sender lives in the app.
            _ = changes.changed() => {}
        }
    }
}
