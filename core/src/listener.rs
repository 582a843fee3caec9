use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ratebus_sdk::{Clock, LogLimit, Origins};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    body::TimedBody,
    config,
    http::{self, Edge, OverTls},
    mounts::Mounts,
    places::Places,
    proxies::TrustedProxies,
    seated::Seated,
};

/// How many connections the kernel holds for us before we accept them: a storm of reconnects must fit.
const BACKLOG: i32 = 4096;
/// How long a client may take to send a request's headers, and so how long a connection may be idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read ahead, so also the largest block of headers; and the most that is buffered for a client that does
/// not read.
const BUFFER: usize = 16 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up. Heartbeats cannot see a client
/// that stopped reading while its connection lives.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How much the kernel may hold that it has not sent: by itself it takes megabytes for a client that does not read. The rest is
/// in our hands, where something newer replaces it.
const UNSENT: u32 = 16 * 1024;
/// How long a client may take for the rest of its request, or of our answer, when the process stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a refused connection may take to hear why, and how many may hear it at once; more are closed without a word.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const REFUSALS: usize = 64;

/// One bound port.
pub(crate) struct Listener {
    name: String,
    socket: TcpListener,
    address: SocketAddr,
    connections: Arc<Semaphore>,
    places: Arc<Places>,
    refusals: Arc<Semaphore>,
    gate: Arc<Gate>,
}

/// What each request of a listener goes through.
struct Gate {
    mounts: Arc<Mounts>,
    proxies: TrustedProxies,
    origins: Origins,
}

impl Gate {
    /// The request with what the connection tells about it: who sent it, and whose pages may.
    fn admit(&self, peer: SocketAddr, request: Request<Incoming>) -> Request<Body> {
        let mut request = request.map(|body| Body::new(TimedBody::new(body)));
        let client = self.proxies.client(peer, request.headers());
        let over_tls = self.proxies.says_https(peer, request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(client));
        extensions.insert(self.origins.clone());
        if over_tls {
            extensions.insert(OverTls);
        }
        request
    }
}

impl Listener {
    /// Binds the address of `settings`. Nothing is accepted until [`Listener::serve`].
    pub(crate) fn bind(name: &str, settings: config::Listener, mounts: Arc<Mounts>) -> io::Result<Self> {
        let address = settings.listen;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Lets a restart bind while connections of the last run linger; it does not share a port that is in use.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // What is accepted has these from here (`tcp(7)`).
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(STALL_TIMEOUT))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Self {
            name: name.to_owned(),
            address: socket.local_addr()?,
            socket,
            connections: Arc::new(Semaphore::new(settings.max_connections)),
            places: Places::new(name, settings.max_connections_per_address),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            gate: Arc::new(Gate { mounts, proxies: settings.trusted_proxies, origins: settings.origins }),
        })
    }

    /// The address it is bound to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until `cancel`, then lets the requests in flight finish: `tracker` knows when they have.
    pub(crate) async fn serve(self, cancel: CancellationToken, tracker: TaskTracker) {
        let (mut failures, mut refusals) = (LogLimit::default(), LogLimit::default());
        let connections = metrics::counter!("ratebus_connections_total", "listener" => self.name.clone());
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((Ok(stream), peer)) => {
                    connections.increment(1);
                    tracker.spawn(connection(stream, peer, self.gate.clone(), cancel.clone()));
                }
                Ok((Err(stream), peer)) => {
                    if refusals.allows(Clock.now()) {
                        let (listener, address) = (&self.name, peer.ip());
                        tracing::warn!(listener, %address, "an address has all of its max_connections_per_address");
                    }
                    self.refuse(stream, &tracker);
                }
                Err(error) => {
                    if failures.allows(Clock.now()) {
                        tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
                    }
                    metrics::counter!("ratebus_accept_errors_total", "listener" => self.name.clone()).increment(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Tells a client that its address has too many connections, in answer to its request, and closes.
    fn refuse(&self, stream: TcpStream, tracker: &TaskTracker) {
        metrics::counter!("ratebus_connections_refused_total", "listener" => self.name.clone()).increment(1);
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        let edge = Edge::new(Router::new().fallback(async || http::too_many_connections()), &self.name);
        let edge = Arc::new(edge);
        let service = service_fn(move |request: Request<Incoming>| {
            let edge = Arc::clone(&edge);
            async move { Ok::<_, Infallible>(edge.answer(request.map(Body::new)).await) }
        });
        let told = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        tracker.spawn(async move {
            // Who does not ask in time is not told.
            let _ = timeout(REFUSAL_TIMEOUT, told).await;
            drop(permit);
        });
    }

    /// The next connection, once there is room for it among all; with a place, unless its address has too many.
    async fn accept(&self) -> io::Result<(Result<Seated, TcpStream>, SocketAddr)> {
        let permit = self.connections.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.socket.accept().await?;
        let limited = (!self.gate.proxies.trusts(peer.ip())).then_some(peer.ip());
        Ok((self.places.seat(stream, limited, permit), peer))
    }
}

async fn connection(stream: Seated, peer: SocketAddr, gate: Arc<Gate>, cancel: CancellationToken) {
    let handlers = TaskTracker::new();
    handlers.close();
    let switch = stream.switch();
    let service = service_fn(|request: Request<Incoming>| {
        let (edge, request) = (gate.mounts.current(), gate.admit(peer, request));
        let switch = &switch;
        handlers.track_future(async move {
            let response = edge.answer(request).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                switch.set();
            }
            Ok::<_, Infallible>(response)
        })
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                result = served => result,
                () = left_alone(&handlers) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::trace!(%peer, %error, "connection ended");
    }
}

/// Resolves when no request has been handled for [`LEAVE_TIMEOUT`]: from then on it is only the client that is waited for.
async fn left_alone(handlers: &TaskTracker) {
    loop {
        handlers.wait().await;
        tokio::time::sleep(LEAVE_TIMEOUT).await;
        if handlers.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
