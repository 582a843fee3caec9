use std::{
    cmp::Reverse,
    hint::black_box,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ratebus_model::Timestamp;
use ratebus_sdk::Clock;
use serde::Serialize;
use slab::Slab;
use utoipa::ToSchema;

/// Everybody who is connected, for whoever wants to know who is slow.
#[derive(Debug)]
pub(crate) struct Roll {
    start: Instant,
    /// Taken by who comes, goes and looks; what a client counts takes no lock.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    came: u64,
    here: Slab<Arc<Entry>>,
}

/// What is known of a client. It alone writes.
#[derive(Debug)]
struct Entry {
    id: u64,
    transport: &'static str,
    address: Option<IpAddr>,
    since: Timestamp,
    deliveries: AtomicU64,
    conflated: AtomicU64,
    /// How many bytes its connection has not taken yet.
    pending: AtomicU64,
    /// Since when there are some, and when it took the last of them, in milliseconds since the start.
    behind_since: AtomicU64,
    progress_at: AtomicU64,
}

/// A client's line, struck out when dropped.
#[derive(Debug)]
pub(crate) struct Line {
    roll: Arc<Roll>,
    index: usize,
    entry: Arc<Entry>,
    /// As the entry has it, which lies elsewhere in memory and is left alone where it can be.
    pending: usize,
}

/// A client of the live rates.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LiveClient)]
pub(crate) struct View {
    /// No other one has it until the server is started again.
    id: u64,
    #[schema(example = "websocket")]
    transport: &'static str,
    /// Of IPv6 the /64; `null` if the listener does not know it.
    #[schema(required, value_type = Option<String>, example = "192.0.2.7")]
    address: Option<IpAddr>,
    connected_since: Timestamp,
    /// For how long it has not had everything, in milliseconds.
    pub(crate) behind_ms: u64,
    /// For how long its connection has taken nothing of what is pending, in milliseconds.
    pub(crate) stalled_ms: u64,
    /// What its connection has not taken yet.
    pub(crate) pending_bytes: u64,
    /// The quotes or maps that went out to it.
    deliveries: u64,
    /// Those that gave way to newer ones before they could.
    conflated: u64,
}

impl Roll {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Clock.now(), entries: Mutex::default() })
    }

    /// Writes somebody down who has just come.
    pub(crate) fn add(self: &Arc<Self>, transport: &'static str, address: Option<IpAddr>) -> Line {
        let mut entries = self.entries();
        entries.came += 1;
        let entry = Arc::new(Entry {
            id: entries.came,
            transport,
            address,
            since: Clock.wall(),
            deliveries: AtomicU64::new(0),
            conflated: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            behind_since: AtomicU64::new(0),
            progress_at: AtomicU64::new(0),
        });
        let index = entries.here.insert(Arc::clone(&entry));
        drop(entries);
        Line { roll: Arc::clone(self), index, entry, pending: 0 }
    }

    /// The slowest, first those that take nothing for the longest time, and how many there are in all.
    pub(crate) fn slowest(&self, most: usize) -> (Vec<View>, usize) {
        let now = self.millis(Clock.now());
        let mut views: Vec<View> = self.entries().here.iter().map(|(_, entry)| entry.view(now)).collect();
        let all = views.len();
        views.sort_unstable_by_key(|view| {
            Reverse((view.stalled_ms, view.behind_ms, view.pending_bytes, view.conflated, Reverse(view.id)))
        });
        views.truncate(most);
        (views, all)
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis().try_into().unwrap_or(u64::MAX)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn view(&self, now: u64) -> View {
        let pending_bytes = self.pending.load(Relaxed);
        let since = |at: &AtomicU64| if pending_bytes == 0 { 0 } else { now.saturating_sub(at.load(Relaxed)) };
        View {
            id: self.id,
            transport: self.transport,
            address: self.address,
            connected_since: self.since,
            behind_ms: since(&self.behind_since),
            stalled_ms: since(&self.progress_at),
            pending_bytes,
            deliveries: self.deliveries.load(Relaxed),
            conflated: self.conflated.load(Relaxed),
        }
    }
}

impl Line {
    /// So many quotes went out; so many others gave way to newer ones.
    pub(crate) fn sent(&self, deliveries: usize, conflated: u64) {
        let add = |to: &AtomicU64, more| to.store(to.load(Relaxed) + more, Relaxed);
        add(&self.entry.deliveries, deliveries as u64);
        add(&self.entry.conflated, conflated);
    }

    /// So many bytes have not been taken yet.
    pub(crate) fn owes(&mut self, pending: usize, now: Instant) {
        let before = std::mem::replace(&mut self.pending, pending);
        if pending == before {
            return;
        }
        let now = self.roll.millis(now);
        if before == 0 {
            self.entry.behind_since.store(now, Relaxed);
        }
        self.entry.progress_at.store(now, Relaxed);
        self.entry.pending.store(pending as u64, Relaxed);
    }

    /// Looks at what [`Line::sent`] will need.
    pub(crate) fn glance(&self) {
        black_box(self.entry.deliveries.load(Relaxed));
    }

    /// For how long nothing of what is pending has been taken.
    pub(crate) fn stalled(&self, now: Instant) -> Duration {
        Duration::from_millis(self.entry.view(self.roll.millis(now)).stalled_ms)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.roll.entries().here.try_remove(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first_and_nobody_stays_who_is_gone() {
        let roll = Roll::new();
        let [mut stalled, mut slow, mut fast, gone] = ["a", "b", "c", "d"].map(|transport| roll.add(transport, None));
        let at = |millis| roll.start + Duration::from_millis(millis);
        for (line, steps) in
            [(&mut stalled, &[(9, 0)][..]), (&mut slow, &[(5, 0), (4, 50)]), (&mut fast, &[(7, 10), (0, 20)])]
        {
            for &(pending, millis) in steps {
                line.owes(pending, at(millis));
            }
        }
        fast.sent(3, 2);
        drop(gone);
        let views = [&stalled, &slow, &fast].map(|line| line.entry.view(100));
        let times = views.map(|view| (view.behind_ms, view.stalled_ms, view.pending_bytes));
        assert_eq!(times, [(100, 100, 9), (100, 50, 4), (0, 0, 0)]);
        let (slowest, all) = roll.slowest(2);
        assert_eq!((slowest.iter().map(|view| view.transport).collect::<String>().as_str(), all), ("ab", 3));
        let fast = fast.entry.view(100);
        assert_eq!((fast.deliveries, fast.conflated, fast.id), (3, 2, 3));
    }
}
