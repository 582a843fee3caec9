//! `rates:live` over Socket.IO (protocol 5 on Engine.IO 4), for the original project's clients.
//!
//! The transports, polling and WebSocket, are engineioxide's. What Socket.IO adds for one namespace and one event is a
//! few packets, spoken here: so that one ready-made packet serves everybody, and so that a packet is queued only when
//! the connection has taken the ones before.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    response::IntoResponse,
    routing::{MethodRouter, any},
};
use engineioxide::{
    DisconnectReason, Socket, Str, config::EngineIoConfig, handler::EngineIoHandler, service::EngineIoService,
    socket::Permit,
};
use ratebus_sdk::{AttemptBudget, Clock};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    hub::{Hub, Ticket},
    metrics::Meter,
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
    any(move |mut request: Request| async move {
        if opens_session(&request) {
            match live.hub.admit(&live.meter) {
                // The engine keeps the request for as long as the session lives, and so the place is taken.
                Ok(ticket) => request.extensions_mut().insert::<Arc<Ticket>>(Arc::new(ticket)),
                Err(problem) => return problem.into_response(),
            };
        }
        let mut engine = engine;
        match tower_service::Service::call(&mut engine, request).await {
            Ok(response) => response.into_response(),
            Err(never) => match never {},
        }
    })
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
    /// Whether the client has joined the default namespace.
    joined: AtomicBool,
    on_join: Notify,
    budget: Mutex<AttemptBudget>,
    /// Why we closed it.
    ending: OnceLock<&'static str>,
}

impl Default for Session {
    fn default() -> Self {
        let budget = Mutex::new(AttemptBudget::new(MESSAGES_PER_SECOND, Duration::from_secs(1)));
        Self { joined: AtomicBool::new(false), on_join: Notify::new(), budget, ending: OnceLock::new() }
    }
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
        match message.as_bytes().first() {
            _ if !within_budget => end(&socket, "too_many"),
            Some(b'0') => connect(&socket, &message[1..]),
            Some(b'1') => end(&socket, "left"),
            // An event or an acknowledgement: nobody here listens to any.
            Some(b'2' | b'3') if socket.data.joined.load(Ordering::Relaxed) => {}
            _ => end(&socket, "malformed"),
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

/// Answers a CONNECT packet: `[/namespace,][auth]`.
fn connect(socket: &Socket<Session>, packet: &str) {
    let namespace = packet.split(',').next().filter(|text| text.starts_with('/')).unwrap_or("/");
    let answer = if namespace != "/" {
        format!("4{namespace},{{\"message\":\"Invalid namespace\"}}")
    } else if socket.data.joined.swap(true, Ordering::Relaxed) {
        return;
    } else {
        format!("0{{\"sid\":\"{}\"}}", socket.id)
    };
    if socket.emit(answer).is_err() {
        end(socket, "stalled");
    }
    if namespace == "/" {
        socket.data.on_join.notify_one();
    }
}

impl Live {
    /// Serves one client until it is gone.
    async fn serve(&self, socket: &Socket<Session>) {
        tokio::select! {
            () = self.hub.stop.cancelled() => end(socket, "stopping"),
            () = socket.closed() => {}
            reason = self.follow(socket) => end(socket, reason),
        }
    }

    /// Sends every new map that there is room for, the newest when there was none. Returns why the client must go.
    async fn follow(&self, socket: &Socket<Session>) -> &'static str {
        if timeout(CONNECT_TIMEOUT, socket.data.on_join.notified()).await.is_err() {
            return "silent";
        }
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
