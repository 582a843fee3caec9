use std::collections::BTreeMap;

use metrics::{Counter, Gauge};
use ratebus_model::SourceName;

/// The source's counters, each made when it is first needed; their second label comes from a fixed set of words.
pub(crate) struct Meter {
    source: SourceName,
    counters: BTreeMap<(&'static str, &'static str), Counter>,
    connected: Gauge,
}

impl Meter {
    pub(crate) fn new(source: SourceName) -> Self {
        let connected = metrics::gauge!("ratebus_feed_connected", "source" => source.to_string());
        connected.set(0);
        Self { source, counters: BTreeMap::new(), connected }
    }

    /// An attempt to connect: `ok`, or the kind of its error.
    pub(crate) fn connect(&mut self, outcome: &'static str) {
        self.count("ratebus_feed_connects_total", "outcome", outcome);
    }

    /// A connection that ended, and why.
    pub(crate) fn reconnect(&mut self, reason: &'static str) {
        self.count("ratebus_feed_reconnects_total", "reason", reason);
    }

    /// A pair that was asked for anew: whether its price was the `same`, had `moved` in silence, or was `refused` as no
    /// price to believe; or `unanswered`.
    pub(crate) fn audit(&mut self, outcome: &'static str) {
        self.count("ratebus_feed_audits_total", "outcome", outcome);
    }

    /// Something a frame said, or a frame that could not be read.
    pub(crate) fn frame(&mut self, kind: &'static str) {
        self.count("ratebus_feed_frames_total", "kind", kind);
    }

    /// Shows a connection for as long as the guard lives.
    pub(crate) fn connected(&self) -> Connected {
        self.connected.set(1);
        Connected(self.connected.clone())
    }

    fn count(&mut self, name: &'static str, label: &'static str, value: &'static str) {
        let source = self.source;
        let counter = || metrics::counter!(name, "source" => source.to_string(), label => value);
        self.counters.entry((name, value)).or_insert_with(counter).increment(1);
    }
}

/// Dropped with the session, also when that is cancelled.
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.set(0);
    }
}
