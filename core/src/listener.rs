use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::extract::ConnectInfo;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ratebus_sdk::{Clock, LogLimit};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::mounts::Mounts;

/// How many connections the kernel holds for us before we accept them: a storm of reconnects must fit.
const BACKLOG: i32 = 4096;
/// How long a client may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read ahead, so also the largest block of headers; and the most that is buffered for a client that does
/// not read.
const BUFFER: usize = 16 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up. Heartbeats cannot see a client
/// that stopped reading while its connection lives.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for the rest of its request, or of our answer, when the process stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One bound port.
pub(crate) struct Listener {
    name: String,
    socket: TcpListener,
    address: SocketAddr,
    mounts: Arc<Mounts>,
    connections: Arc<Semaphore>,
}

impl Listener {
    /// Binds `address`. Nothing is accepted until [`Listener::serve`].
    pub(crate) fn bind(name: &str, address: SocketAddr, max: usize, mounts: Arc<Mounts>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Lets a restart bind while connections of the last run linger; it does not share a port that is in use.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok(Self { name: name.to_owned(), socket, address, mounts, connections: Arc::new(Semaphore::new(max)) })
    }

    /// The address it is bound to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until `cancel`, then lets the requests in flight finish: `tracker` knows when they have.
    pub(crate) async fn serve(self, cancel: CancellationToken, tracker: TaskTracker) {
        let mut log = LogLimit::default();
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    metrics::counter!("ratebus_connections_total", "listener" => self.name.clone()).increment(1);
                    tracker.spawn(connection(stream, peer, permit, self.mounts.clone(), cancel.clone()));
                }
                Err(error) => {
                    if log.allows(Clock.now()) {
                        tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
                    }
                    metrics::counter!("ratebus_accept_errors_total", "listener" => self.name.clone()).increment(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = self.connections.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, permit))
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    mounts: Arc<Mounts>,
    cancel: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%peer, %error, "socket options not set");
    }
    let handlers = TaskTracker::new();
    handlers.close();
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        handlers.track_future(mounts.current().oneshot(request))
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
    drop(permit);
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

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{Instant, sleep},
    };

    use super::*;
    use crate::health::Readiness;

    /// Sends `request`, then stops the listener: what came back, and how long the stop took.
    async fn stopped_after(request: &str, read: bool) -> (String, Duration) {
        let slow = async || {
            sleep(Duration::from_secs(8)).await;
            "done"
        };
        let large = async || "x".repeat(32 << 20);
        let router = Router::new().route("/slow", get(slow)).route("/large", get(large));
        let mounts = Mounts::fixed("test", router, Readiness::default());
        let listener = Listener::bind("test", SocketAddr::from(([127, 0, 0, 1], 0)), 8, mounts).unwrap();
        let mut client = TcpStream::connect(listener.address()).await.unwrap();
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(listener.serve(cancel.clone(), tracker.clone()));
        client.write_all(request.as_bytes()).await.unwrap();
        while tracker.len() < 2 {
            tokio::task::yield_now().await;
        }
        // Time is paused: it passes once everybody waits, so once the request has been read.
        sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        cancel.cancel();
        tracker.close();
        tracker.wait().await;
        let took = started.elapsed();
        let mut answer = String::new();
        if read {
            client.read_to_string(&mut answer).await.unwrap();
        }
        (answer, took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_handlers_and_not_for_clients() {
        let (answer, took) = stopped_after("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", true).await;
        assert!(answer.ends_with("done"), "{answer}");
        assert!(took >= Duration::from_secs(7), "{took:?}");
        for (request, read) in [("GET / HTTP/1.1\r\nhos", true), ("GET /large HTTP/1.1\r\nhost: x\r\n\r\n", false)] {
            let (answer, took) = stopped_after(request, read).await;
            assert_eq!(answer, "");
            assert!(took <= LEAVE_TIMEOUT + Duration::from_millis(10), "{request}: {took:?}");
        }
    }
}
