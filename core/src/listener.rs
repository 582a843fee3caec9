use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::extract::ConnectInfo;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
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
/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One bound port.
pub(crate) struct Listener {
    name: String,
    socket: TcpListener,
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
        Ok(Self { name: name.to_owned(), socket, mounts, connections: Arc::new(Semaphore::new(max)) })
    }

    /// The address it is bound to.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections until `cancel`, then lets the requests in flight finish: `tracker` knows when they have.
    pub(crate) async fn serve(self, cancel: CancellationToken, tracker: TaskTracker) {
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
                    tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
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
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        mounts.current().oneshot(request)
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
            served.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%peer, %error, "connection ended");
    }
    drop(permit);
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIMEOUT))
}
