//! `rates:live` over Socket.IO (protocol 5 on Engine.IO 4), for the original project's clients.
//!
//! The transports, polling and WebSocket, are engineioxide's. What Socket.IO adds for one namespace and one event is a
//! few packets, spoken here: so that one ready-made packet serves everybody, and so that a packet is queued only when
//! the connection has taken the ones before.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use engineioxide::{
    DisconnectReason, Socket, Str, config::EngineIoConfig, handler::EngineIoHandler, service::EngineIoService,
    socket::Permit,
};
use ratebus_sdk::{AttemptBudget, Clock, NoSession, SessionPass};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    door::{self, AUTH_TIMEOUT, Guest, View, Visitor},
    hub::Hub,
    metrics::Meter,
    packet::{self, Packet},
};

/// The path that clients use unless told otherwise.
pub(crate) const PATH: &str = "/socket.io";

const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connected client may take to join the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// The longest message, and the longest polling request, taken from a client.
const MAX_MESSAGE: usize = 4096;
/// What is read from a client at once.
const READ_BUFFER: usize = 4096;
/// How many messages a client may send per second.
const MESSAGES_PER_SECOND: usize = 10;
/// How many packets wait for a client at most: two maps, and room for the engine's own packets. A ping that finds no
/// room would end the connection.
const QUEUE: usize = 4;
/// How many packets of a client wait for an answer at most; more than it may send in a second do not.
const ASKS: usize = MESSAGES_PER_SECOND;
/// How long a client has to leave that was told to.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a client without room for the newest map is looked at again.
const RETRY: Duration = Duration::from_millis(50);

/// The route's handler.
pub(crate) fn route(hub: Arc<Hub>) -> MethodRouter {
    let live = Arc::new(Live { hub, meter: Meter::new("socketio"), packet: Mutex::default() });
    let config = EngineIoConfig::builder()
        .req_path(PATH)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .max_buffer_size(QUEUE)
        .max_payload(MAX_MESSAGE as u64)
        .ws_read_buffer_size(READ_BUFFER)
        .ws_max_message_size(MAX_MESSAGE)
        .ws_max_frame_size(MAX_MESSAGE)
        .build();
    let engine = EngineIoService::with_config(Arc::clone(&live), config);
    let handler = async move |mut request: Request| {
        let visitor = Visitor::of(request.headers(), request.extensions());
        let known = if opens_session(&request) {
            // The engine keeps the request for as long as the session lives, and so the place is taken.
            let guest = live.hub.door.enter(visitor, &live.meter).await;
            guest.map(|guest| drop(request.extensions_mut().insert::<Arc<Guest>>(Arc::new(guest))))
        } else {
            live.hub.door.knows(&visitor)
        };
        if let Err(refusal) = known {
            return refusal.into_response();
        }
        let mut engine = engine;
        match tower_service::Service::call(&mut engine, request).await {
            Ok(response) => response.into_response(),
            Err(never) => match never {},
        }
    };
    get(handler.clone()).post(handler)
}

fn opens_session(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    !query.split('&').any(|part| part.starts_with("sid="))
}

/// The one event, for every client.
struct Live {
    hub: Arc<Hub>,
    meter: Meter,
    /// The newest packet, and which change of the map it carries.
    packet: Mutex<(u64, Str)>,
}

/// What belongs to one connection.
struct Session {
    /// Whether the client has asked to join the default namespace.
    joined: AtomicBool,
    /// What the client's task has to answer, in order.
    asks: mpsc::Sender<Ask>,
    /// The other end, until the task takes it.
    asked: Mutex<Option<mpsc::Receiver<Ask>>>,
    budget: Mutex<AttemptBudget>,
    /// Why we closed it.
    ending: OnceLock<&'static str>,
}

impl Default for Session {
    fn default() -> Self {
        let budget = Mutex::new(AttemptBudget::new(MESSAGES_PER_SECOND, Duration::from_secs(1)));
        let (asks, asked) = mpsc::channel(ASKS);
        Self { joined: AtomicBool::new(false), asks, asked: Mutex::new(Some(asked)), budget, ending: OnceLock::new() }
    }
}

/// What the rates are waited for with. No `Debug`: a token is a secret.
enum Ask {
    /// To join, with the token that came along.
    Join(Option<String>),
    /// To go on with a newer token, and to be told under this number.
    Renew { token: String, ack: Option<u64> },
}

impl EngineIoHandler for Live {
    type Data = Session;

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Session>>) {
        tokio::spawn(async move { self.serve(&socket).await });
    }

    fn on_disconnect(&self, socket: Arc<Socket<Session>>, reason: DisconnectReason) {
        let reason = match reason {
            DisconnectReason::TransportClose => "left",
            DisconnectReason::TransportError => "lost",
            DisconnectReason::HeartbeatTimeout => "silent",
            DisconnectReason::ClosingServer => "stopping",
            DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError => "malformed",
        };
        self.meter.closed(socket.data.ending.get().copied().unwrap_or(reason));
    }

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<Session>>) {
        let within_budget = {
            let mut budget = socket.data.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.take(Clock.now()).is_ok()
        };
        if !within_budget {
            return end(&socket, "too_many");
        }
        let joined = &socket.data.joined;
        match packet::parse(&message) {
            Packet::Connect { token } if !joined.swap(true, Ordering::Relaxed) => ask(&socket, Ask::Join(token)),
            Packet::Connect { .. } => {}
            Packet::ConnectElsewhere { namespace } => answer(&socket, packet::invalid_namespace(namespace)),
            Packet::Disconnect => end(&socket, "left"),
            Packet::Auth { token, ack } => ask(&socket, Ask::Renew { token, ack }),
            // Nobody here listens to anything else.
            Packet::Event if joined.load(Ordering::Relaxed) => {}
            Packet::Event | Packet::Malformed => end(&socket, "malformed"),
        }
    }

    fn on_binary(self: &Arc<Self>, _data: bytes::Bytes, socket: Arc<Socket<Session>>) {
        end(&socket, "binary");
    }
}

/// Closes a connection and remembers why.
fn end(socket: &Socket<Session>, reason: &'static str) {
    // The first reason stays.
    let _ = socket.data.ending.set(reason);
    socket.close(DisconnectReason::ClosingServer);
}

fn ask(socket: &Socket<Session>, ask: Ask) {
    // It has room for all that a client may send in a second; who is still waiting for answers then asks too much.
    if socket.data.asks.try_send(ask).is_err() {
        end(socket, "too_many");
    }
}

fn answer(socket: &Socket<Session>, packet: String) {
    if socket.emit(packet).is_err() {
        end(socket, "stalled");
    }
}

impl Live {
    /// Serves one client until it is gone.
    async fn serve(&self, socket: &Socket<Session>) {
        tokio::select! {
            () = self.hub.stop.cancelled() => end(socket, "stopping"),
            () = socket.closed() => {}
            reason = self.attend(socket) => end(socket, reason),
        }
    }

    /// Lets the client join and sends it the rates. Returns why it must go.
    async fn attend(&self, socket: &Socket<Session>) -> &'static str {
        let asked = socket.data.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let guest = socket.req_parts.extensions.get::<Arc<Guest>>();
        let (Some(mut asked), Some(guest)) = (asked, guest) else { return "malformed" };
        let view = match self.join(socket, &guest.view, &mut asked).await {
            Ok(view) => view,
            Err(reason) => return reason,
        };
        tokio::select! {
            biased;
            () = self.hold(socket, view, &mut asked) => {
                answer(socket, packet::DISCONNECT.to_owned());
                leave(socket).await;
                "session_over"
            }
            reason = self.follow(socket) => reason,
        }
    }

    /// Waits for the client to join, and to say who it is where that is asked.
    async fn join(
        &self,
        socket: &Socket<Session>,
        view: &View,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Result<View, &'static str> {
        let limit = if let View::Awaited = view { AUTH_TIMEOUT } else { CONNECT_TIMEOUT };
        // Of receiving alone: how long a token takes to check is not the client's.
        let shown = match (timeout(limit, asked.recv()).await, view) {
            (Ok(Some(Ask::Join(token))), View::Awaited) => {
                self.hub.door.check(token.as_deref().unwrap_or_default()).await.map(View::Session)
            }
            (Ok(Some(Ask::Join(_))), View::Open | View::Session(_)) => Ok(view.clone()),
            // Requests of a polling client overtake each other: it must be the one that joins, and nothing else.
            (Ok(_), _) => return Err("malformed"),
            (Err(_), View::Awaited) => Err(NoSession::Refused),
            (Err(_), _) => return Err("silent"),
        };
        let error = match shown {
            Ok(view) => {
                answer(socket, packet::joined(socket.id));
                return Ok(view);
            }
            Err(error) => error,
        };
        answer(socket, packet::refused(&door::problem(error)));
        leave(socket).await;
        Err(if error == NoSession::Refused { "unauthenticated" } else { "unavailable" })
    }

    /// Takes newer tokens, until nothing may be seen any more.
    async fn hold(&self, socket: &Socket<Session>, mut view: View, asked: &mut mpsc::Receiver<Ask>) {
        loop {
            let renewing = async {
                match asked.recv().await {
                    Some(Ask::Renew { token, ack }) => (self.hub.door.renew(&view, &token).await, ack),
                    Some(Ask::Join(_)) | None => pending().await,
                }
            };
            let (renewed, ack) = tokio::select! {
                () = view.over() => return,
                renewed = renewing => renewed,
            };
            if let Some(ack) = ack {
                answer(socket, packet::acknowledge(ack, renewed.as_ref().map(SessionPass::expires_at)));
            }
            if let Ok(pass) = renewed {
                view = View::Session(pass);
            }
        }
    }

    /// Sends every new map that there is room for, the newest when there was none. Returns why the client must go.
    async fn follow(&self, socket: &Socket<Session>) -> &'static str {
        let mut changes = self.hub.board.live_changes();
        let mut sent = None;
        loop {
            let owed_since = Instant::now();
            let permit = loop {
                match room(socket) {
                    Some(permit) => break permit,
                    None if owed_since.elapsed() > self.hub.stall_timeout => return "stalled",
                    None => sleep(RETRY).await,
                }
            };
            let newest = *changes.borrow_and_update();
            let packet = self.packet(newest);
            self.meter.sent(1, packet.len(), sent.map_or(0, |sent: u64| newest - sent - 1));
            permit.emit(packet);
            sent = Some(newest);
            if changes.changed().await.is_err() {
                return "stopping";
            }
        }
    }

    /// The event with the newest map, made by the first client that needs it.
    fn packet(&self, change: u64) -> Str {
        let mut packet = self.packet.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.1.is_empty() || packet.0 < change {
            *packet = (change, format!("2[\"rates:live\",{}]", self.hub.board.live_map()).into());
        }
        packet.1.clone()
    }
}

/// Gives the client time to take what it was told last, and to go.
async fn leave(socket: &Socket<Session>) {
    let _ = timeout(LEAVE_TIMEOUT, socket.closed()).await;
}

/// A place in the client's queue, if it has taken all but one packet of what it was sent.
fn room<T: Default + Send + Sync>(socket: &Socket<T>) -> Option<Permit<'_>> {
    let permit = socket.reserve().ok()?;
    let _spare = [socket.reserve().ok()?, socket.reserve().ok()?];
    Some(permit)
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}
