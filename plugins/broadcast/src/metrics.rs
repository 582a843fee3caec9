use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// How often quotes were encoded: once each, however many clients there are.
#[derive(Debug)]
pub(crate) struct Encodes {
    pub(crate) quotes: Counter,
    pub(crate) live_entries: Counter,
    pub(crate) live_maps: Counter,
}

impl Encodes {
    pub(crate) fn new() -> Self {
        let encodes = |encoding| counter!("ratebus_encodes_total", "encoding" => encoding);
        Self { quotes: encodes("quote"), live_entries: encodes("live_entry"), live_maps: encodes("live_map") }
    }
}

/// What one transport's clients took. Each of them has it: it is as small as can be.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Instruments>);

/// What went out, of which the clients of a loop have one: counters are places in memory that all cores write to, and so
/// are told of many deliveries at once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    deliveries: u64,
    bytes: u64,
    conflated: u64,
    joined: u64,
}

impl Tally {
    /// So many quotes (or maps) went out in one write of so many bytes; so many others gave way to newer ones before they
    /// could.
    pub(crate) fn sent(&mut self, deliveries: usize, bytes: usize, conflated: u64) {
        self.deliveries += deliveries as u64;
        self.bytes += bytes as u64;
        self.conflated += conflated;
    }

    /// So many quotes went out in one write, where they are several.
    pub(crate) fn joined(&mut self, quotes: usize) {
        if quotes > 1 {
            self.joined += quotes as u64;
        }
    }
}

#[derive(Debug)]
struct Instruments {
    transport: &'static str,
    clients: Gauge,
    deliveries: Counter,
    conflated: Counter,
    joined: Counter,
    bytes: Counter,
    round: Histogram,
    closed: Reasons,
    refused: Reasons,
}

/// How often something happened, by reason. A counter is registered when its reason is there for the first time: to look
/// it up by its labels each time would be half of what it costs that a client leaves, and all may leave at once.
#[derive(Debug)]
struct Reasons {
    name: &'static str,
    transport: &'static str,
    counters: RwLock<BTreeMap<&'static str, Counter>>,
}

impl Reasons {
    fn new(name: &'static str, transport: &'static str) -> Self {
        Self { name, transport, counters: RwLock::default() }
    }

    fn count(&self, reason: &'static str) {
        if let Some(counter) = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(reason) {
            return counter.increment(1);
        }
        let counter = counter!(self.name, "transport" => self.transport, "reason" => reason);
        counter.increment(1);
        self.counters.write().unwrap_or_else(PoisonError::into_inner).insert(reason, counter);
    }
}

impl Meter {
    pub(crate) fn new(transport: &'static str) -> Self {
        Self(Arc::new(Instruments {
            transport,
            clients: gauge!("ratebus_clients", "transport" => transport),
            deliveries: counter!("ratebus_deliveries_total", "transport" => transport),
            conflated: counter!("ratebus_conflated_total", "transport" => transport),
            joined: counter!("ratebus_joined_total", "transport" => transport),
            bytes: counter!("ratebus_sent_bytes_total", "transport" => transport),
            round: histogram!("ratebus_tick_to_socket_seconds", "transport" => transport),
            closed: Reasons::new("ratebus_clients_closed_total", transport),
            refused: Reasons::new("ratebus_clients_refused_total", transport),
        }))
    }

    pub(crate) fn transport(&self) -> &'static str {
        self.0.transport
    }

    pub(crate) fn came(&self) {
        self.0.clients.increment(1);
        tracing::debug!(transport = self.0.transport, "client connected");
    }

    pub(crate) fn gone(&self) {
        self.0.clients.decrement(1);
    }

    /// A client left or was sent away.
    pub(crate) fn closed(&self, reason: &'static str) {
        self.0.closed.count(reason);
        tracing::debug!(transport = self.0.transport, reason, "client gone");
    }

    /// Somebody was not let in.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.0.refused.count(reason);
    }

    /// Counts what went out, and leaves nothing of it in `tally`.
    pub(crate) fn count(&self, tally: &mut Tally) {
        let sent = mem::take(tally);
        let Instruments { deliveries, bytes, conflated, joined, .. } = &*self.0;
        let counts =
            [(deliveries, sent.deliveries), (bytes, sent.bytes), (conflated, sent.conflated), (joined, sent.joined)];
        for (counter, more) in counts.into_iter().filter(|(_, more)| *more > 0) {
            counter.increment(more);
        }
    }

    /// A change that was put on the board so long ago has been given to every connection that could take it.
    pub(crate) fn served(&self, after: Duration) {
        self.0.round.record(after);
    }
}
