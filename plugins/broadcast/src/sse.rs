//! Quotes as server-sent events, `/v1/rates/stream`.

use std::{collections::VecDeque, convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use ratebus_sdk::ProblemDocument;
use tokio::{sync::watch, time::sleep};
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    board::Slot,
    cursor::{AT_ONCE, Cursor, Owed},
    door::{self, Guest, Refusal, Visitor},
    frame,
    hub::Hub,
    metrics::Meter,
    request::{Selection, Start, unknown_pairs},
};

/// How long nothing may be sent: proxies close connections that seem idle.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The route.
pub(crate) fn route(hub: Arc<Hub>) -> UtoipaMethodRouter {
    routes!(stream).with_state((hub, Meter::new("sse")))
}

/// Quotes as Server-Sent Events
///
/// A `snapshot` and then each `quote` that changed, without an end: `/asyncapi.json` has them.
#[utoipa::path(get, path = "/v1/rates/stream", operation_id = "streamQuotes", tag = "rates", params(Selection),
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
    (status = 503, description = "As many clients as are allowed are connected, tokens cannot be checked, or the service \
        is stopping.", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn stream(
    State((hub, meter)): State<(Arc<Hub>, Meter)>,
    visitor: Visitor,
    selection: Selection,
) -> Result<Stream, Response> {
    Stream::open(hub, meter, visitor, selection).await
}

/// One client's stream. It is asked for the next part only when the connection has room for it, which is what conflates
/// for a slow client; one that takes nothing at all is closed by the listener's TCP user timeout.
struct Stream {
    hub: Arc<Hub>,
    meter: Meter,
    cursor: Cursor,
    /// Snapshots not sent yet.
    first: VecDeque<Bytes>,
    changes: watch::Receiver<u64>,
    guest: Guest,
    ending: Option<&'static str>,
}

impl Stream {
    async fn open(hub: Arc<Hub>, meter: Meter, visitor: Visitor, selection: Selection) -> Result<Self, Response> {
        let guest = hub.door.enter(visitor.at_once(), &meter).await.map_err(Refusal::into_response)?;
        let changes = hub.board.changes();
        let Start { cursor, slots, unknown } = selection.start(&hub.board);
        if !unknown.is_empty() {
            return Err(unknown_pairs(&unknown).into_response());
        }
        let event = |slots: &[Arc<Slot>]| frame::snapshot_event(slots.iter().map(|slot| &slot.frame));
        let first = if slots.is_empty() { [event(&[])].into() } else { slots.chunks(AT_ONCE).map(event).collect() };
        meter.sent(slots.len(), 0, 0);
        Ok(Self { hub, meter, cursor, first, changes, guest, ending: None })
    }

    /// The next bytes to send, once there are any; `None` at the end. A server that stops says first when to come again.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ending.is_some() {
            return None;
        }
        if let Some(snapshot) = self.first.pop_front()
            && self.guest.view.over().now_or_never().is_none()
        {
            self.meter.sent(0, snapshot.len(), 0);
            return Some(snapshot);
        }
        let mut idle = pin!(sleep(KEEP_ALIVE));
        loop {
            tokio::select! {
                biased;
                () = self.hub.stop.cancelled() => {
                    self.ending = Some("stopping");
                    return Some(format!("retry: {}\n\n", door::wait().as_millis()).into());
                }
                () = self.guest.view.over() => {
                    self.ending = Some("session_over");
                    return None;
                }
                () = &mut idle => return Some(Bytes::from_static(b": keep-alive\n\n")),
                // The sender lives in the hub.
                _ = self.changes.changed() => {}
            }
            let Owed { slots, conflated } = self.cursor.take(&self.hub.board);
            if slots.len() == AT_ONCE {
                self.changes.mark_changed();
            }
            let bytes = match slots.as_slice() {
                [] => continue,
                [slot] => slot.frame.event().clone(),
                slots => slots.iter().map(|slot| &slot.frame.event()[..]).collect::<Vec<_>>().concat().into(),
            };
            self.meter.sent(slots.len(), bytes.len(), conflated);
            return Some(bytes);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.meter.closed(self.ending.unwrap_or("left"));
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
