use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::{extract::FromRequestParts, response::IntoResponse};
use bytes::Bytes;
use tokio::sync::watch;

use super::{Floor, Packet, Version};
use crate::{
    door::Guest,
    ending::Ending,
    hub::Hub,
    loops::{Errand, Name},
};

/// What both sides keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How long after the start, or the last answer, a client is asked whether it is there.
    pub(crate) ping_interval: Duration,
    /// How long it may take to answer.
    pub(crate) ping_timeout: Duration,
    /// The longest message, and the longest body of a request.
    pub(crate) max_payload: usize,
    /// Whether clients of version 3 are served, too.
    pub(crate) takes_v3: bool,
}

/// What is said in a session.
pub(crate) trait App: Send + Sized + 'static {
    /// What it waits for.
    type Outcome: Send + 'static;
    /// What all sessions share.
    type Common: Clone + Send + Sync + 'static;

    /// What the query of a session's first request says of what the client wants.
    type Wish: FromRequestParts<(), Rejection: IntoResponse> + Default + Send + 'static;

    /// At the start of a session, before anything was said.
    fn new(wish: Self::Wish, desk: &mut Desk<'_, Self>) -> Self;
    /// The client has sent text.
    fn on_text(&mut self, text: &str, desk: &mut Desk<'_, Self>) -> Result<(), Ending>;
    /// The client has sent bytes.
    fn on_binary(&mut self, bytes: Bytes, desk: &mut Desk<'_, Self>) -> Result<(), Ending>;
    /// What was waited for is there.
    fn on_outcome(&mut self, outcome: Self::Outcome, desk: &mut Desk<'_, Self>) -> Result<(), Ending>;
    /// Something is due.
    fn check(&mut self, desk: &mut Desk<'_, Self>) -> Result<(), Ending>;
    /// When something is due.
    fn due(&self) -> Option<Instant>;
    /// The newest of what the client is to be sent without having asked. It is called when that can be sent.
    fn next(&mut self, desk: &mut Desk<'_, Self>) -> Option<Packet>;
    /// Changes when there may be something next.
    fn news(hub: &Hub) -> watch::Receiver<u64>;
}

/// What an [`App`] works with.
pub(crate) struct Desk<'a, A: App> {
    pub(crate) sid: &'a str,
    pub(crate) version: Version,
    pub(crate) guest: &'a mut Guest,
    pub(crate) floor: &'a mut Floor<A>,
    pub(super) name: Name,
    pub(super) queue: &'a mut VecDeque<Packet>,
}

impl<A: App> Desk<'_, A> {
    /// Sends something, after what was sent before.
    pub(crate) fn send(&mut self, packet: Packet) {
        self.queue.push_back(packet);
    }

    /// Has something done that takes a while.
    pub(crate) fn send_for(&mut self, outcome: impl Future<Output = A::Outcome> + Send + 'static) -> Errand {
        self.floor.send_for(self.name, outcome)
    }
}
