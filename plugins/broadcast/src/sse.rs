//! Quotes as server-sent events, `/v1/rates/stream`.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use ratebus_sdk::{Clock, ProblemDocument};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    cursor::{Cursor, Kind, Owed},
    door::{self, Guest, Refusal, Visitor},
    frame,
    hub::Hub,
    metrics::{Meter, Tally},
    pace::Pace,
    request::{Parameters, Selection, unknown_pairs},
};

/// How long nothing may be sent: proxies close connections that seem idle, many after 15 s.
const KEEP_ALIVE: Duration = Duration::from_secs(14);
/// With what a client that comes back says what it had.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The route.
pub(crate) fn route(hub: Arc<Hub>) -> UtoipaMethodRouter {
    routes!(stream).with_state((hub, Meter::new("sse")))
}

/// Quotes as Server-Sent Events
///
/// A `snapshot` and then each `quote` that changed, without an end: `/asyncapi.json` has them.
#[utoipa::path(get, path = "/v1/rates/stream", operation_id = "streamQuotes", tag = "rates",
    params(Parameters, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was \
        received: if the server knows it, there is no snapshot, and each `quote` that changed since.")),
    security((), ("bearer" = [])), responses(
    (status = 200, description = "Events, for as long as both sides like.", body = String,
        content_type = "text/event-stream"),
    (status = 400, description = "The query cannot be read.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 401, description = "The streams are for people who are logged in, and the token is not good.",
        body = ProblemDocument, content_type = "application/problem+json"),
    (status = 403, description = "A page of this origin may not use the streams.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 404, description = "Nobody serves one of the pairs.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 422, description = "A parameter of the query is wrong.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 503, description = "As many clients as are allowed are connected, tokens cannot be checked, or the service \
        is stopping.", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn stream(
    State((hub, meter)): State<(Arc<Hub>, Meter)>,
    visitor: Visitor,
    selection: Selection,
    headers: HeaderMap,
) -> Result<Stream, Response> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    Stream::open(hub, meter, visitor, selection, last).await
}

/// One client's stream. It is asked for the next part only when the connection has room for it, which is what conflates
/// for a slow client; one that takes nothing at all is closed by the listener's TCP user timeout.
struct Stream {
    hub: Arc<Hub>,
    meter: Meter,
    cursor: Cursor,
    pace: Pace,
    changes: watch::Receiver<u64>,
    guest: Guest,
    /// Its turn among all, when they are sent away.
    turn: u32,
    /// Whether it had everything when it asked last.
    is_current: bool,
    ending: Option<&'static str>,
}

impl Stream {
    async fn open(
        hub: Arc<Hub>,
        meter: Meter,
        visitor: Visitor,
        selection: Selection,
        last: Option<&str>,
    ) -> Result<Self, Response> {
        let guest = hub.door.enter(visitor.at_once(), &meter).await.map_err(Refusal::into_response)?;
        let mut changes = hub.board.changes();
        let (cursor, unknown) = selection.start(&hub.board, last);
        if !unknown.is_empty() {
            return Err(unknown_pairs(&unknown).into_response());
        }
        changes.mark_changed();
        let pace = Pace::new([hub.max_rate, selection.max_rate], Clock.now());
        let turn = getrandom::u32().unwrap_or_default();
        Ok(Self { hub, meter, cursor, pace, changes, guest, turn, is_current: false, ending: None })
    }

    /// The next bytes to send, once there are any; `None` at the end. It is asked for when there is room for them.
    async fn next(&mut self) -> Option<Bytes> {
        self.guest.owes(0, Clock.now());
        self.is_current = matches!(self.changes.has_changed(), Ok(false)) && self.pace.allows(Clock.now());
        let bytes = self.wait().await;
        // Asked for more, it has taken them.
        self.guest.owes(bytes.as_ref().map_or(0, Bytes::len), Clock.now());
        bytes
    }

    /// A server that stops says last when to come again.
    async fn wait(&mut self) -> Option<Bytes> {
        if self.ending.is_some() {
            return None;
        }
        let mut idle = pin!(sleep(KEEP_ALIVE));
        loop {
            tokio::select! {
                biased;
                () = self.hub.sends_away(self.turn, u32::MAX) => {
                    self.ending = Some("stopping");
                    return Some(format!("retry: {}\n\n", door::wait().as_millis()).into());
                }
                () = self.guest.view.over() => {
                    self.ending = Some("session_over");
                    return None;
                }
                () = &mut idle => return Some(Bytes::from_static(b": keep-alive\n\n")),
                () = Self::changed(&mut self.changes, &mut self.pace, self.cursor.is_adding()) => {}
            }
            if let Some(bytes) = self.take() {
                return Some(bytes);
            }
        }
    }

    /// Resolves when there may be something that may be sent. Cancel-safe.
    async fn changed(changes: &mut watch::Receiver<u64>, pace: &mut Pace, has_snapshot: bool) {
        if !has_snapshot
            && !pace.allows(Clock.now())
            && let Some(due) = pace.due()
        {
            sleep_until(due.into()).await;
        }
        // The sender lives in the hub.
        let _ = changes.changed().await;
    }

    /// What the client has not been sent yet, if anything, and not more than can be sent at once.
    fn take(&mut self) -> Option<Bytes> {
        let Owed { slots, known, conflated, kind, has_more } = self.cursor.take(&self.hub.board);
        if has_more {
            self.changes.mark_changed();
        }
        let bytes = match (kind, slots.as_slice()) {
            (Kind::Snapshot { .. }, slots) => {
                let token = self.hub.board.token(self.cursor.seen().unwrap_or_default());
                frame::snapshot_event(token, slots.iter().map(|slot| &slot.frame))
            }
            (Kind::Changes, []) => return None,
            (Kind::Changes, [slot]) => slot.event(known).clone(),
            (Kind::Changes, slots) => {
                slots.iter().map(|slot| &slot.event(known)[..]).collect::<Vec<_>>().concat().into()
            }
        };
        self.guest.sent(slots.len(), conflated);
        let mut tally = Tally::default();
        tally.sent(slots.len(), bytes.len(), conflated);
        if kind == Kind::Changes {
            tally.joined(slots.len());
            let since = slots.iter().map(|slot| slot.since).min().filter(|_| self.is_current);
            if let Some(since) = since {
                self.meter.served(Clock.now().saturating_duration_since(since));
            }
        }
        self.meter.count(&mut tally);
        if kind == Kind::Changes && !has_more {
            self.pace.sent(Clock.now());
        }
        Some(bytes)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The listener closes it for what its socket does not take, which it may have had for a while by then.
        let stalls = 2 * self.guest.stalled(Clock.now()) >= self.hub.stall_timeout;
        let how = if stalls { "stalled" } else { "left" };
        self.meter.closed(self.ending.unwrap_or(how));
    }
}

impl IntoResponse for Stream {
    fn into_response(self) -> Response {
        let parts = stream::unfold(self, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(bytes), stream))
        });
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx would otherwise hold events back.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        (headers, Body::from_stream(parts)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Extensions;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{places::Places, quotes::quote};

    fn hub(max_rate: u32) -> Arc<Hub> {
        Hub::for_tests(Places::new(9, 9, 9), max_rate, CancellationToken::new())
    }

    fn publish(hub: &Hub, pairs: &[&str], sequence: u64) {
        for pair in pairs {
            hub.board.publish(&Arc::new(quote(pair, sequence)), Clock.now());
        }
        hub.board.announce();
    }

    async fn open(hub: &Arc<Hub>) -> Stream {
        let visitor = Visitor::of(&HeaderMap::new(), &Extensions::new());
        Stream::open(Arc::clone(hub), Meter::new("test"), visitor, Selection::default(), None).await.unwrap()
    }

    async fn next(stream: &mut Stream) -> String {
        String::from_utf8_lossy(&stream.next().await.unwrap()).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_between_the_parts_of_a_snapshot_waits_for_no_other_change() {
        let hub = hub(0);
        publish(&hub, &["BTC_USD", "ETH_USD", "SOL_USD"], 1);
        let mut stream = open(&hub).await;
        assert!(next(&mut stream).await.contains("BTC_USD"));
        publish(&hub, &["BTC_USD"], 2);
        assert!(next(&mut stream).await.contains("SOL_USD"));
        let changed = next(&mut stream).await;
        assert!(changed.starts_with("event: quote") && changed.contains(r#""sequence":2"#), "{changed}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_for_as_many_changes_as_go_at_once() {
        let (hub, pairs) = (hub(1), ["BTC_USD", "ETH_USD"]);
        publish(&hub, &pairs, 1);
        let mut stream = open(&hub).await;
        assert!(next(&mut stream).await.starts_with("event: snapshot"));
        let start = tokio::time::Instant::now();
        for sequence in 2..4 {
            publish(&hub, &pairs, sequence);
            assert_eq!(next(&mut stream).await.matches("event: quote").count(), 2);
        }
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
