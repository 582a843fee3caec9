use std::{
    task::Waker,
    time::{Duration, Instant},
};

use hyper::upgrade::Upgraded;

use super::packet::{self, Packet, Received};
use crate::{
    codec::Incoming,
    link::{Link, Lost},
};

/// How long a WebSocket may take to take over.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A WebSocket that is to take over from polling. It does when it was asked `2probe` and told `5`, and is given up when it
/// says anything else.
pub(super) struct Probe {
    pub(super) link: Box<Link>,
    pub(super) until: Instant,
    pub(super) is_answered: bool,
}

impl Probe {
    pub(super) fn new(io: Upgraded, waker: Waker, max_message: usize, now: Instant) -> Self {
        Self { link: Box::new(Link::new(io, waker, max_message)), until: now + TIMEOUT, is_answered: false }
    }

    /// Whether it takes over now; `Lost` when it never will.
    pub(super) fn takes_over(&mut self, buffer: &mut [u8]) -> Result<bool, Lost> {
        self.link.flush()?;
        loop {
            let text = match self.link.receive(buffer) {
                Ok(None) => return Ok(false),
                Ok(Some(Incoming::Text(text))) => text,
                Ok(Some(_)) | Err(_) => return Err(Lost),
            };
            match packet::parse(&text) {
                Some(Received::Ping("probe")) if !self.is_answered => {
                    self.is_answered = true;
                    self.link.send(&Packet::pong("probe").into_frames())?;
                }
                Some(Received::Upgrade) if self.is_answered => return Ok(true),
                _ => return Err(Lost),
            }
        }
    }
}
