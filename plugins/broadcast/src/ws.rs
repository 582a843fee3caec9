//! Quotes over a plain WebSocket, `/v1/ws`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::SinkExt;
use ratebus_sdk::{AttemptBudget, Clock, NoSession, ProblemDocument};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout},
};
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    board::Slot,
    cursor::{AT_ONCE, Cursor, Owed},
    door::{self, AUTH_TIMEOUT, Guest, Refusal, View, Visitor},
    frame,
    hub::Hub,
    metrics::Meter,
    request::{self, Id, Op, Reply, Selection, Start, unknown_pairs},
};

/// The longest message taken from a client.
const MAX_MESSAGE: usize = 4096;
/// What is read from a client at once. The library's 128 KiB would be most of what a client costs.
const READ_BUFFER: usize = 4096;
/// What is collected before it is written; [`AT_ONCE`] quotes stay below it.
const WRITE_BUFFER: usize = 64 * 1024;
/// More than ever waits to be written: the write buffer and one more message.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;
/// How many messages a client may send per second.
const MESSAGES_PER_SECOND: usize = 10;
/// How often a client is asked whether it is still there; it has until the next time to show that it is.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The route.
pub(crate) fn route(hub: Arc<Hub>) -> UtoipaMethodRouter {
    routes!(upgrade).with_state((hub, Meter::new("websocket")))
}

/// Quotes over a WebSocket
///
/// An upgrade (RFC 6455): a client subscribes and unsubscribes with messages of its own. `/asyncapi.json` has them.
#[utoipa::path(get, path = "/v1/ws", operation_id = "openWebSocket", tag = "rates", params(Selection),
    security((), ("bearer" = [])), responses(
    (status = 101, description = "From here on WebSocket frames."),
    (status = 400, description = "It is no handshake, or the query cannot be read.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 401, description = "The streams are for people who are logged in, and the token is not good.",
        body = ProblemDocument, content_type = "application/problem+json"),
    (status = 403, description = "A page of this origin may not use the streams.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 426, description = "The connection cannot be upgraded.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 503, description = "As many clients as are allowed are connected, tokens cannot be checked, or the service \
        is stopping.", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn upgrade(
    State((hub, meter)): State<(Arc<Hub>, Meter)>,
    visitor: Visitor,
    selection: Selection,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Response> {
    let upgrade = upgrade.map_err(|error| ProblemDocument::new(error.status(), error.body_text()).into_response())?;
    let guest = hub.door.enter(visitor, &meter).await.map_err(Refusal::into_response)?;
    Ok(open(hub, meter, guest, upgrade, selection))
}

fn open(hub: Arc<Hub>, meter: Meter, guest: Guest, upgrade: WebSocketUpgrade, selection: Selection) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            let stop = hub.stop.clone().cancelled_owned();
            let mut client = Client::new(socket, hub, meter.clone(), guest);
            let ending = tokio::select! {
                ending = client.serve(&selection) => ending,
                // Somebody who takes nothing cannot be told that we stop.
                () = async move { stop.await; sleep(CLOSE_TIMEOUT * 2).await } => Ending::Stopping,
            };
            meter.closed(ending.as_str());
        })
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client closed it.
    Left,
    /// It broke.
    Lost,
    /// The client took nothing of what was pending.
    Stalled,
    /// The client answered no ping.
    Silent,
    /// The server stops.
    Stopping,
    /// A message was too long.
    TooLong,
    /// Too many messages.
    TooMany,
    /// Not text.
    Binary,
    /// Not a WebSocket frame, or not in its place.
    Malformed,
    /// Text that is no UTF-8.
    NotUtf8,
    /// The client did not say in time who it is, or not truly.
    Unauthenticated,
    /// Who the client is cannot be checked.
    Unavailable,
    /// The client's session has ended, or its token has run out.
    SessionOver,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Stopping => "stopping",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::Binary => "binary",
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::SessionOver => "session_over",
        }
    }

    /// The code and reason of the close frame, if there is still somebody to tell (RFC 6455, section 7.4).
    const fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Left | Self::Lost | Self::Stalled | Self::Silent => None,
            Self::Stopping => Some((close_code::RESTART, "the server is stopping")),
            Self::TooLong => Some((close_code::SIZE, "a message may have 4 KiB")),
            Self::TooMany => Some((close_code::POLICY, "10 messages a second are allowed")),
            Self::Binary => Some((close_code::UNSUPPORTED, "only text is understood")),
            Self::Malformed => Some((close_code::PROTOCOL, "")),
            Self::NotUtf8 => Some((close_code::INVALID, "")),
            Self::Unauthenticated => Some((close_code::POLICY, "a valid token is required, within 5 seconds")),
            Self::Unavailable => Some((close_code::AGAIN, "tokens cannot be checked at the moment")),
            Self::SessionOver => Some((close_code::POLICY, "the session has ended")),
        }
    }
}

struct Client {
    socket: WebSocket,
    hub: Arc<Hub>,
    meter: Meter,
    guest: Guest,
    cursor: Cursor,
    changes: watch::Receiver<()>,
    budget: AttemptBudget,
    ping: Interval,
    /// Whether anything came in since the last ping.
    heard: bool,
}

impl Client {
    fn new(socket: WebSocket, hub: Arc<Hub>, meter: Meter, guest: Guest) -> Self {
        let (changes, (cursor, _)) = (hub.board.changes(), Cursor::only(&hub.board, &[]));
        let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let budget = AttemptBudget::new(MESSAGES_PER_SECOND, Duration::from_secs(1));
        Self { socket, hub, meter, guest, cursor, changes, budget, ping, heard: true }
    }

    /// Serves the client to its end, the closing handshake included.
    async fn serve(&mut self, selection: &Selection) -> Ending {
        let ending = match self.begin(selection).await {
            Ok(()) => self.stream().await,
            Err(ending) => ending,
        };
        if timeout(CLOSE_TIMEOUT, self.close(ending)).await.is_err() {
            tracing::trace!("no closing handshake");
        }
        ending
    }

    /// Closes with a handshake where there is still somebody to shake hands with.
    async fn close(&mut self, ending: Ending) {
        if let Some((code, reason)) = ending.close_frame() {
            let reason: Utf8Bytes = match ending {
                Ending::Stopping | Ending::Unavailable => {
                    format!("{reason}; come again in {} ms", door::wait().as_millis()).into()
                }
                _ => Utf8Bytes::from_static(reason),
            };
            if self.socket.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_err() {
                return;
            }
        } else if ending != Ending::Left {
            return;
        }
        // To the end: it takes a read to answer the client's close frame, and what is left unread when the connection
        // is dropped resets it, which could overtake ours.
        while let Some(Ok(_)) = self.socket.recv().await {}
    }

    /// Up to the first snapshot, and what could not be subscribed. Nobody sees a rate before they may.
    async fn begin(&mut self, selection: &Selection) -> Result<(), Ending> {
        if let View::Awaited = self.guest.view {
            let stop = self.hub.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return Err(Ending::Stopping),
                authenticated = self.authenticate() => authenticated?,
            }
        }
        let Start { cursor, slots, unknown } = selection.start(&self.hub.board);
        self.cursor = cursor;
        self.snapshot(&slots).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        self.reply(&Reply::Error { error: unknown_pairs(&unknown), id: None }).await
    }

    /// Takes the first message, which has to show a token in time. How long it takes to check is not the client's.
    async fn authenticate(&mut self) -> Result<(), Ending> {
        let first = timeout(AUTH_TIMEOUT, self.first_text()).await;
        let text = first.unwrap_or(Err(Ending::Unauthenticated))?;
        let (id, Ok(Op::Auth(token))) = request::parse(&text) else { return Err(Ending::Unauthenticated) };
        let pass = self.hub.door.check(&token).await.map_err(|error| match error {
            NoSession::Refused => Ending::Unauthenticated,
            NoSession::Unavailable => Ending::Unavailable,
        })?;
        let expires_at = pass.expires_at();
        self.guest.view = View::Session(pass);
        self.reply(&Reply::Authenticated { expires_at, id }).await
    }

    async fn first_text(&mut self) -> Result<Utf8Bytes, Ending> {
        loop {
            let message = self.socket.recv().await;
            if let Some(text) = self.taken(message).await? {
                return Ok(text);
            }
        }
    }

    /// Forwards what changes and answers what is asked, until the end.
    async fn stream(&mut self) -> Ending {
        let hub = Arc::clone(&self.hub);
        loop {
            let step = tokio::select! {
                biased;
                () = hub.stop.cancelled() => Err(Ending::Stopping),
                () = self.guest.view.over() => Err(Ending::SessionOver),
                message = self.socket.recv() => self.on_message(message).await,
                _ = self.ping.tick() => self.check().await,
                // The sender lives in the hub.
                _ = self.changes.changed() => self.catch_up().await,
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), Ending> {
        let Owed { slots, conflated } = self.cursor.take(&self.hub.board);
        if slots.len() == AT_ONCE {
            self.changes.mark_changed();
        }
        if slots.is_empty() {
            return Ok(());
        }
        let bytes = slots.iter().map(|slot| slot.frame.text().len()).sum();
        self.write(slots.iter().map(|slot| Message::Text(slot.frame.text().clone())).collect()).await?;
        self.meter.sent(slots.len(), bytes, conflated);
        Ok(())
    }

    async fn on_message(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Ending> {
        match self.taken(message).await? {
            Some(text) => self.on_request(&text).await,
            None => Ok(()),
        }
    }

    /// The text that came in, if it is one.
    async fn taken(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, Ending> {
        self.heard = true;
        let message = message.ok_or(Ending::Lost)?.map_err(read_error)?;
        if self.budget.take(Clock.now()).is_err() {
            return Err(Ending::TooMany);
        }
        match message {
            Message::Text(text) => Ok(Some(text)),
            Message::Binary(_) => Err(Ending::Binary),
            Message::Close(_) => Err(Ending::Left),
            // The library has answered a ping; the answer goes out with the next flush.
            Message::Ping(_) => self.write(Vec::new()).await.map(|()| None),
            Message::Pong(_) => Ok(None),
        }
    }

    async fn on_request(&mut self, text: &str) -> Result<(), Ending> {
        let (id, op) = request::parse(text);
        match op {
            Ok(Op::Auth(token)) => self.renew(&token, id).await,
            Ok(Op::Ping) => self.reply(&Reply::Pong { id }).await,
            Ok(Op::Subscribe(pairs)) => self.subscribe(&pairs, id).await,
            Ok(Op::Unsubscribe(pairs)) => {
                let pairs: Vec<_> = pairs.iter().filter_map(|pair| pair.parse().ok()).collect();
                self.cursor.unsubscribe(&self.hub.board, &pairs);
                let pairs = self.cursor.pairs(&self.hub.board);
                self.reply(&Reply::Subscribed { pairs, id }).await
            }
            Err(error) => self.reply(&Reply::Error { error, id }).await,
        }
    }

    /// Takes a newer token of the same session.
    async fn renew(&mut self, token: &str, id: Id<'_>) -> Result<(), Ending> {
        let hub = Arc::clone(&self.hub);
        let renewed = tokio::select! {
            biased;
            () = self.guest.view.over() => return Err(Ending::SessionOver),
            renewed = hub.door.renew(&self.guest.view, token) => renewed,
        };
        let reply = match renewed {
            Ok(pass) => {
                let expires_at = pass.expires_at();
                self.guest.view = View::Session(pass);
                Reply::Authenticated { expires_at, id }
            }
            Err(error) => Reply::Error { error, id },
        };
        self.reply(&reply).await
    }

    async fn subscribe(&mut self, pairs: &[String], id: Id<'_>) -> Result<(), Ending> {
        let (known, unknown) = request::known_pairs(pairs, &self.hub.board);
        if !unknown.is_empty() {
            self.reply(&Reply::Error { error: unknown_pairs(&unknown), id }).await?;
        }
        let added = self.cursor.subscribe(&self.hub.board, &known);
        let pairs = self.cursor.pairs(&self.hub.board);
        self.reply(&Reply::Subscribed { pairs, id }).await?;
        match added {
            Some(slots) => self.snapshot(&slots).await,
            None => Ok(()),
        }
    }

    /// Asks the client whether it is there, unless it has not answered the last time.
    async fn check(&mut self) -> Result<(), Ending> {
        if !std::mem::take(&mut self.heard) {
            return Err(Ending::Silent);
        }
        self.write(vec![Message::Ping(Bytes::new())]).await
    }

    /// Sends quotes as a snapshot: one message, or several where there are very many.
    async fn snapshot(&mut self, slots: &[Arc<Slot>]) -> Result<(), Ending> {
        let mut rest = slots;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(AT_ONCE));
            let text = frame::snapshot_text(chunk.iter().map(|slot| &slot.frame));
            let bytes = text.len();
            self.write(vec![Message::Text(text)]).await?;
            self.meter.sent(chunk.len(), bytes, 0);
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    async fn reply(&mut self, reply: &Reply<'_>) -> Result<(), Ending> {
        let text = serde_json::to_string(reply).map_err(|_| Ending::Lost)?;
        self.write(vec![text.into()]).await
    }

    /// Writes and flushes in one go.
    async fn write(&mut self, messages: Vec<Message>) -> Result<(), Ending> {
        let write = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        let written = tokio::select! {
            // Who takes nothing at the moment must not have the rest later.
            () = self.guest.view.over() => return Err(Ending::SessionOver),
            written = timeout(self.hub.stall_timeout, write) => written,
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Lost),
            Err(_) => Err(Ending::Stalled),
        }
    }
}

fn read_error(error: axum::Error) -> Ending {
    use tungstenite::Error;
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => Ending::TooLong,
        Some(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => Ending::Lost,
        Some(Error::Protocol(_)) => Ending::Malformed,
        Some(Error::Utf8(_)) => Ending::NotUtf8,
        _ => Ending::Lost,
    }
}
