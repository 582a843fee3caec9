use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::places::Place;

/// A connection that has its place. A WebSocket takes it along when it leaves HTTP behind.
///
/// The answer with which it leaves is held back for what the new protocol says first, so that both are one write: writes
/// are most of what somebody who comes costs. If the client has to speak first it has the answer before that is awaited.
pub(crate) struct Seated {
    stream: TcpStream,
    stage: Stage,
    _place: Place,
}

enum Stage {
    /// It speaks HTTP until the switch says otherwise.
    Http(Switch),
    /// HTTP is over but for these bytes.
    Held {
        bytes: Vec<u8>,
        /// HTTP flushes its answer; the next flush is meant.
        is_flushed: bool,
    },
    /// It is the new protocol's alone.
    Switched,
}

/// Tells a connection that what is written next is the last of HTTP.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Seated {
    pub(crate) fn new(stream: TcpStream, place: Place) -> Self {
        Self { stream, stage: Stage::Http(Switch::default()), _place: place }
    }

    /// What makes this connection leave HTTP.
    pub(crate) fn switch(&self) -> Switch {
        if let Stage::Http(switch) = &self.stage { switch.clone() } else { Switch::default() }
    }

    /// Sends what is held.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Stage::Held { .. } = self.stage {
            ready!(self.poll_write_held(cx, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends of what is held, and `bytes` after it. Returns how many of `bytes` went.
    fn poll_write_held(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Stage::Held { bytes: held, .. } = &mut self.stage else { return Poll::Ready(Ok(0)) };
        let both = [IoSlice::new(held), IoSlice::new(bytes)];
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &both))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_held = sent.min(held.len());
        held.drain(..of_held);
        if held.is_empty() {
            self.stage = Stage::Switched;
        }
        Poll::Ready(Ok(sent - of_held))
    }
}

impl Drop for Seated {
    /// Whoever HTTP was left for may have no use for the connection: the client has its answer all the same.
    fn drop(&mut self) {
        if let Stage::Held { bytes, .. } = &self.stage {
            // It is all that was ever written, so there is room for it, or nobody who reads it.
            let _ = self.stream.try_write(bytes);
        }
    }
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.stage {
            Stage::Http(switch) if switch.is_set() => {
                self.stage = Stage::Held { bytes: bytes.to_vec(), is_flushed: false };
                return Poll::Ready(Ok(bytes.len()));
            }
            Stage::Http(_) | Stage::Switched => {}
            Stage::Held { .. } => match ready!(self.poll_write_held(cx, bytes))? {
                0 => ready!(self.poll_release(cx))?,
                sent => return Poll::Ready(Ok(sent)),
            },
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.stage {
            Stage::Http(switch) if !switch.is_set() => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            Stage::Switched => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            // One slice after the other: it is the answer's head alone, which is one.
            _ => {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                self.poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stage::Held { is_flushed, .. } = &mut self.stage
            && !mem::replace(is_flushed, true)
        {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
