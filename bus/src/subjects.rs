use std::{
    hash::BuildHasher,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use metrics::Counter;
use ratebus_model::{Epoch, Message, Pattern, Payload, Subject};
use tokio::time::Instant;

use crate::{
    effects::Effects,
    lock,
    publisher::Run,
    targets::{Published, Targets, WhenFull},
};

/// Enough that publishers of different subjects seldom meet.
const SHARDS: usize = 64;

/// What the bus knows of each subject. One look-up finds all that a publish needs; its lock makes stamping, keeping
/// and handing over one step, so that the last value and every inbox see a subject's messages in the same order.
/// Nothing waits and nobody is woken while it is held.
#[derive(Debug)]
pub(crate) struct Subjects {
    shards: Box<[Shard]>,
    hasher: RandomState,
    limits: Limits,
}

#[derive(Debug)]
pub(crate) struct Limits {
    /// The prefixes of subjects that keep their last value.
    prefixes: Vec<String>,
    max_age: Option<Duration>,
    max_last_values: usize,
    last_values: AtomicUsize,
    refused: Counter,
    /// How many subjects without a last value each shard remembers.
    remembered: usize,
}

/// Aligned so that locking one shard does not slow down its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    table: HashTable<Entry>,
    /// How many subjects may come before the next sweep.
    room: usize,
}

/// One subject.
#[derive(Debug)]
pub(crate) struct Entry {
    subject: Subject,
    hash: u64,
    /// Who wants it, as of a generation of the subscriptions.
    pub(crate) targets: Targets,
    pub(crate) generation: u64,
    keeps_last: bool,
    last: Option<Last>,
    sequences: Vec<Sequence>,
    /// Whether it was published since the last sweep.
    used: bool,
}

#[derive(Debug)]
struct Last {
    message: Arc<Message>,
    /// The subscriptions' generation with which it was delivered.
    generation: u64,
    /// Known if there is a maximal age.
    kept_at: Option<Instant>,
}

/// How far a publisher's run is.
#[derive(Debug)]
struct Sequence {
    run: Weak<Run>,
    name: Arc<str>,
    epoch: Epoch,
    last: u64,
    /// Whether it has more to say than that there is nothing any more.
    speaks: bool,
}

impl Subjects {
    pub(crate) fn new(
        prefixes: Vec<String>,
        max_age: Option<Duration>,
        max_last_values: usize,
        remembered: usize,
    ) -> Self {
        let limits = Limits {
            prefixes,
            max_age,
            max_last_values,
            last_values: AtomicUsize::new(0),
            refused: metrics::counter!("ratebus_bus_last_values_refused_total"),
            remembered: remembered.div_ceil(SHARDS).max(1),
        };
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), hasher: RandomState::default(), limits }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Locks the subject's shard.
    pub(crate) fn lock(&self, subject: &Subject) -> Locked<'_> {
        let hash = self.hasher.hash_one(subject.as_str());
        // The table inside the shard goes by the other bits.
        let entries = lock(&self.shards[(hash >> 32) as usize % SHARDS].0);
        Locked { entries, hash, limits: &self.limits }
    }

    pub(crate) fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        let locked = self.lock(subject);
        let entry = locked.entries.table.find(locked.hash, |entry| entry.subject == *subject)?;
        let last = entry.last.as_ref()?;
        last.is_fresh(&self.limits).then(|| last.message.clone())
    }

    pub(crate) fn is_published_here(&self, subject: &Subject) -> bool {
        let locked = self.lock(subject);
        let entry = locked.entries.table.find(locked.hash, |entry| entry.subject == *subject);
        entry.is_some_and(Entry::is_published_here)
    }

    /// The last values of all matching subjects that were delivered before the subscriptions' `generation`, in no order.
    pub(crate) fn last_values<C: Extend<Arc<Message>>>(&self, pattern: &Pattern, generation: u64, into: &mut C) {
        for shard in &self.shards {
            let entries = lock(&shard.0);
            let lasts = entries.table.iter().filter_map(|entry| Some((&entry.subject, entry.last.as_ref()?)));
            into.extend(
                lasts
                    .filter(|(_, last)| last.generation < generation && last.is_fresh(&self.limits))
                    .filter(|(subject, _)| pattern.matches(subject))
                    .map(|(_, last)| last.message.clone()),
            );
        }
    }

    /// The matching subjects whose last value a publisher of that name has published here, in no order.
    pub(crate) fn last_said_by(&self, name: &str, pattern: &Pattern) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for shard in &self.shards {
            let entries = lock(&shard.0);
            let said = entries.table.iter().filter(|entry| entry.is_last_said_by(name));
            subjects.extend(said.map(|entry| &entry.subject).filter(|subject| pattern.matches(subject)).cloned());
        }
        subjects
    }

    /// How many subjects are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).table.len()).sum()
    }
}

/// The shard of a subject, locked.
pub(crate) struct Locked<'a> {
    entries: MutexGuard<'a, Entries>,
    hash: u64,
    limits: &'a Limits,
}

impl Locked<'_> {
    /// The entry of the subject the shard was locked for; it is made if it is new.
    pub(crate) fn entry(&mut self, subject: &Subject) -> &mut Entry {
        let Entries { table, room } = &mut *self.entries;
        match table.find_entry(self.hash, |entry| entry.subject == *subject) {
            Ok(entry) => entry.into_mut(),
            Err(absent) => {
                let table = absent.into_table();
                if *room == 0 {
                    *room = sweep(table, self.limits);
                }
                *room -= 1;
                let new = Entry::new(subject.clone(), self.hash, self.limits);
                table.insert_unique(self.hash, new, |entry| entry.hash).into_mut()
            }
        }
    }
}

/// Forgets the subjects without a last value that were not published since the last sweep, or, when that is too few,
/// all of them: they come back with their next message. Returns how many more may come before the next sweep.
fn sweep(table: &mut HashTable<Entry>, limits: &Limits) -> usize {
    let mut unkept = 0;
    table.retain(|entry| {
        entry.expire(limits);
        let stays = entry.last.is_some() || mem::take(&mut entry.used);
        unkept += usize::from(stays && entry.last.is_none());
        stays || entry.forget()
    });
    if unkept > limits.remembered / 2 {
        unkept = 0;
        table.retain(|entry| entry.last.is_some() || entry.forget());
    }
    limits.remembered - unkept
}

impl Entry {
    fn new(subject: Subject, hash: u64, limits: &Limits) -> Self {
        Self {
            targets: Targets::default(),
            generation: 0,
            keeps_last: limits.prefixes.iter().any(|prefix| subject.as_str().starts_with(prefix.as_str())),
            last: None,
            sequences: Vec::new(),
            used: true,
            subject,
            hash,
        }
    }

    /// The run's number for this message, the next one of this subject.
    pub(crate) fn next_sequence(&mut self, run: &Arc<Run>, payload: &Payload) -> u64 {
        self.used = true;
        let speaks = !matches!(payload, Payload::Gone);
        if let Some(known) = self.sequences.iter_mut().find(|known| known.run.as_ptr() == Arc::as_ptr(run)) {
            known.last += 1;
            known.speaks = speaks;
            return known.last;
        }
        self.sequences.retain(|known| known.run.strong_count() > 0);
        let last = run.forgotten() + 1;
        let (name, epoch) = (run.name(), run.epoch);
        self.sequences.push(Sequence { run: Arc::downgrade(run), name, epoch, last, speaks });
        last
    }

    /// Whether a publisher that goes on has published it, and not said since that it is gone.
    pub(crate) fn is_published_here(&self) -> bool {
        self.sequences.iter().any(|known| known.speaks && known.run.strong_count() > 0)
    }

    fn is_last_said_by(&self, name: &str) -> bool {
        let Some(last) = &self.last else { return false };
        self.sequences.iter().any(|known| known.epoch == last.message.version.epoch && *known.name == *name)
    }

    /// Whether nobody wants a message, now or later.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.targets.is_empty() && !self.keeps_last
    }

    /// Keeps a message, if last values of the subject are kept, and hands it to everybody who wants it.
    pub(crate) fn deliver(
        &mut self,
        message: Arc<Message>,
        limits: &Limits,
        when_full: WhenFull,
        effects: &mut Effects,
    ) -> Published {
        self.used = true;
        if self.keeps_last {
            self.keep(message.clone(), limits);
        }
        self.targets.deliver(message, when_full, effects)
    }

    /// As [`deliver`](Self::deliver), of something that was published elsewhere.
    pub(crate) fn import(&mut self, message: Arc<Message>, limits: &Limits, effects: &mut Effects) -> Published {
        self.used = true;
        if self.keeps_last {
            self.keep(message.clone(), limits);
        }
        self.targets.import(message, effects)
    }

    /// Keeps the last value, unless it is that there is none.
    fn keep(&mut self, message: Arc<Message>, limits: &Limits) {
        if matches!(message.payload, Payload::Gone) {
            return self.drop_last_if(limits, |_| true);
        }
        if self.last.is_none() && limits.last_values.fetch_add(1, Ordering::Relaxed) >= limits.max_last_values {
            limits.last_values.fetch_sub(1, Ordering::Relaxed);
            limits.refused.increment(1);
            return;
        }
        let kept_at = limits.max_age.map(|_| Instant::now());
        self.last = Some(Last { message, generation: self.generation, kept_at });
    }

    fn expire(&mut self, limits: &Limits) {
        self.drop_last_if(limits, |last| !last.is_fresh(limits));
    }

    fn drop_last_if(&mut self, limits: &Limits, condition: impl FnOnce(&Last) -> bool) {
        if self.last.take_if(|last| condition(last)).is_some() {
            limits.last_values.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Leaves the sequences with their runs, so that no run ever counts back. Always false: the entry does not stay.
    fn forget(&self) -> bool {
        for known in &self.sequences {
            if let Some(run) = known.run.upgrade() {
                run.forget(known.last);
            }
        }
        false
    }
}

impl Last {
    fn is_fresh(&self, limits: &Limits) -> bool {
        let age = self.kept_at.map(|at| at.elapsed());
        limits.max_age.is_none_or(|max| age.is_some_and(|age| age <= max))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::{Bus, BusConfig, Outgoing};

    #[test]
    fn the_number_of_subjects_is_bounded_and_last_values_stay() {
        let (match_cache, max_last_values) = (256, 100);
        let bus = Bus::new(BusConfig { max_last_values, match_cache, ..BusConfig::default() });
        let publisher = bus.publisher("p");
        let publish = |subject: String| {
            publisher.try_publish(Outgoing::new(subject.parse().unwrap(), Bytes::new())).unwrap();
        };
        for number in 0..20_000 {
            publish(format!("rates.a.P{}", number % 400));
            publish(format!("other.{number}"));
            publish(format!("_INBOX.{number}"));
            assert!(bus.hub.subjects.len() <= match_cache + max_last_values);
        }
        assert_eq!(bus.last_values(&">".parse().unwrap()).len(), max_last_values);
    }
}
