use std::{
    collections::HashMap,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use metrics::Gauge;
use ratebus_sdk::network;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

/// How many connections each address has on a listener.
pub(crate) struct Places {
    per_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    open: Gauge,
}

/// One connection's place among all, and among those of its address.
struct Place {
    places: Arc<Places>,
    /// Whose place it is; nobody's in particular for a trusted proxy.
    network: Option<IpAddr>,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    /// At most `per_address` for each.
    pub(crate) fn new(listener: &str, per_address: usize) -> Arc<Self> {
        let open = metrics::gauge!("ratebus_open_connections", "listener" => listener.to_owned());
        Arc::new(Self { per_address, taken: Mutex::default(), open })
    }

    /// `stream` with a place, which it gives back when it is closed, whoever has it then; or `stream` alone when `address`
    /// has all the connections that it may have. `None` has no limit of its own.
    pub(crate) fn seat(
        self: &Arc<Self>,
        stream: TcpStream,
        address: Option<IpAddr>,
        of_all: OwnedSemaphorePermit,
    ) -> Result<Seated, TcpStream> {
        let network = address.map(network);
        if let Some(network) = network {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.entry(network).or_default();
            if *taken >= self.per_address {
                return Err(stream);
            }
            *taken += 1;
        }
        self.open.increment(1);
        Ok(Seated { stream, _place: Place { places: Arc::clone(self), network, _of_all: of_all } })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.decrement(1);
        let Some(network) = self.network else { return };
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}

/// A connection that has its place. A WebSocket takes it along when it leaves HTTP behind.
pub(crate) struct Seated {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
