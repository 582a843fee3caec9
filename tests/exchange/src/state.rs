use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use crate::protocol::Protocol;

/// What the exchange knows and how it behaves; tests write it, connections read it.
pub(crate) struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn new(protocol: &'static dyn Protocol) -> Self {
        Self { state: Mutex::new(State::new(protocol)), changes: watch::Sender::new(()) }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.send_replace(());
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct State {
    pub(crate) protocol: &'static dyn Protocol,
    pub(crate) listings: BTreeMap<String, Listing>,
    pub(crate) answers: BTreeMap<String, Answer>,
    pub(crate) system: String,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) refusal: Option<(u16, Option<u64>)>,
    /// The open connections by their number.
    pub(crate) clients: BTreeMap<usize, Client>,
    pub(crate) attempts: usize,
    pub(crate) next_client: usize,
    pub(crate) received: Vec<String>,
}

impl State {
    fn new(protocol: &'static dyn Protocol) -> Self {
        Self {
            protocol,
            listings: BTreeMap::new(),
            answers: BTreeMap::new(),
            system: "online".to_owned(),
            heartbeat: Some(Duration::from_secs(1)),
            refusal: None,
            clients: BTreeMap::new(),
            attempts: 0,
            next_client: 0,
            received: Vec::new(),
        }
    }
}

/// A pair's top of the book, in the texts that go onto the wire.
#[derive(Clone)]
pub struct Listing {
    /// What is paid for it.
    pub bid: String,
    /// What is asked for it.
    pub ask: String,
    /// Since when, in UTC: `2026-09-19T18:57:42.603536Z`.
    pub timestamp: String,
}

/// How a subscription to a pair is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With an acknowledgement and a snapshot, as long as the pair is listed.
    Acknowledge,
    /// With a refusal in these words.
    Refuse(String),
    /// Not at all.
    Ignore,
}

/// What a connection is told to do.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Text(String),
    RawText(Vec<u8>),
    Binary(Vec<u8>),
    Close(u16),
    Reset,
    Hang,
    /// Look at the state again.
    Look,
}

/// One open connection.
pub(crate) struct Client {
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) orders: mpsc::UnboundedSender<Command>,
}

impl Client {
    /// One that is just closing has no use for it.
    pub(crate) fn order(&self, command: Command) {
        let _ = self.orders.send(command);
    }
}
