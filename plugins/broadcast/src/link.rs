//! One WebSocket as a loop sees it: never waited for, and without a buffer while it is idle.

use std::{
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ratebus_sdk::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::codec::{Decoder, Fault, Incoming};

/// A connection after its handshake.
pub(crate) struct Link {
    io: TokioIo<Upgraded>,
    waker: Waker,
    decoder: Decoder,
    /// What was read and not looked at yet.
    unread: Bytes,
    /// What the connection has not taken yet.
    unsent: Bytes,
    /// When it last took something of that, or was given it.
    progress: Instant,
}

/// The connection is broken, or at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

/// Why nothing further can be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Lost,
    Fault(Fault),
}

impl From<Lost> for Failure {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl Link {
    /// `waker` is woken when the connection can go on.
    pub(crate) fn new(io: Upgraded, waker: Waker, max_message: usize) -> Self {
        let (io, decoder) = (TokioIo::new(io), Decoder::new(max_message));
        Self { io, waker, decoder, unread: Bytes::new(), unsent: Bytes::new(), progress: Clock.now() }
    }

    /// Looks at what [`Link::send`] will need. The connection's own state is behind a pointer: to flush it, which it has
    /// no need of, is to look at it.
    pub(crate) fn glance(&mut self) {
        let _ = Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(&self.waker));
        black_box(self.is_clear());
    }

    /// Whether the connection has taken everything.
    pub(crate) fn is_clear(&self) -> bool {
        self.unsent.is_empty()
    }

    /// How many bytes the connection has not taken yet.
    pub(crate) fn pending(&self) -> usize {
        self.unsent.len()
    }

    /// When it will have taken nothing for as long as `timeout`; `None` while there is nothing to take.
    pub(crate) fn stalls_at(&self, timeout: Duration) -> Option<Instant> {
        (!self.is_clear()).then(|| self.progress + timeout)
    }

    /// Sends, or keeps for [`Link::flush`] what cannot be sent now. Rates are sent only when everything before has been
    /// taken, so that what is kept stays small.
    pub(crate) fn send(&mut self, frames: &Bytes) -> Result<(), Lost> {
        if !self.is_clear() {
            self.unsent = [&self.unsent[..], &frames[..]].concat().into();
            return self.flush();
        }
        // Nearly always all of it goes at once.
        let sent = self.write(frames)?.unwrap_or_default();
        if sent < frames.len() {
            self.unsent = frames.slice(sent..);
            self.progress = Clock.now();
            self.flush()?;
        }
        Ok(())
    }

    /// Sends as much as the connection takes of what was kept.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        while !self.is_clear() {
            let unsent = self.unsent.clone();
            let Some(sent) = self.write(&unsent)? else { return Ok(()) };
            // What is shared by all who are sent the same is held on to by nobody idle.
            self.unsent = if sent < unsent.len() { unsent.slice(sent..) } else { Bytes::new() };
            self.progress = Clock.now();
        }
        Ok(())
    }

    /// Sends as much as the connection takes, `None` if that is nothing now.
    fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Lost> {
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(&mut self.io).poll_write(&mut context, bytes) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(0) | Err(_)) => Err(Lost),
            Poll::Ready(Ok(length)) => Ok(Some(length)),
        }
    }

    /// The next message or control frame, if it has come.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Incoming>, Failure> {
        if self.unread.is_empty() {
            let Some(length) = self.read(buffer)? else { return Ok(None) };
            let mut input = &buffer[..length];
            let incoming = self.decoder.next(&mut input).map_err(Failure::Fault)?;
            self.unread = Bytes::copy_from_slice(input);
            if incoming.is_none() {
                // Others come first: it may be long before there is a whole message.
                self.waker.wake_by_ref();
            }
            return Ok(incoming);
        }
        let mut input = &self.unread[..];
        let incoming = self.decoder.next(&mut input).map_err(Failure::Fault)?;
        let taken = self.unread.len() - input.len();
        self.unread.advance(taken);
        if incoming.is_none() {
            self.unread = Bytes::new();
            return self.receive(buffer);
        }
        Ok(incoming)
    }

    /// Says that nothing more will be sent, and throws away what comes in. `Lost` when the client has nothing more to say
    /// either. What is unread when a connection is dropped resets it, which could overtake what was sent last.
    pub(crate) fn drain(&mut self, buffer: &mut [u8]) -> Result<(), Lost> {
        self.flush()?;
        if !self.is_clear() {
            return Ok(());
        }
        let mut context = Context::from_waker(&self.waker);
        if let Poll::Ready(Err(_)) = Pin::new(&mut self.io).poll_shutdown(&mut context) {
            return Err(Lost);
        }
        if self.read(buffer)?.is_some() {
            self.waker.wake_by_ref();
        }
        Ok(())
    }

    /// Reads what is there, if anything.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Lost> {
        let mut read = ReadBuf::new(buffer);
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(&mut self.io).poll_read(&mut context, &mut read) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(())) if !read.filled().is_empty() => Ok(Some(read.filled().len())),
            Poll::Ready(_) => Err(Lost),
        }
    }
}
