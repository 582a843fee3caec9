use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound::{Excluded, Included},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratebus_model::{Epoch, Order, Pair, PairList, PairState, Quote, SourceName, Status, Withheld};
use tokio::sync::watch;

use crate::{
    frame::{self, Frame},
    metrics::Encodes,
    resume::Token,
    wanted::{Sets, Wanted},
};

/// Of how many changes it is remembered which pairs they were of: who is further behind counts as having missed less.
const HISTORY: usize = 4096;

/// The newest quote of each pair, encoded and ready for every client. One task writes, clients read.
///
/// Every change gets the next number of one count, its stamp. A client remembers the stamp up to which it has sent
/// everything; what it is still owed are the slots with higher ones, and that is all there is to conflation.
#[derive(Debug)]
pub(crate) struct Board {
    /// Tells this board's tokens from those of another.
    epoch: Epoch,
    /// A std lock: held to copy references, never across an await.
    table: RwLock<Table>,
    /// The table's stamp, for the many who only ask whether there is anything for them: a lock, though it is free, is one
    /// place in memory that all cores write to.
    stamp: AtomicU64,
    /// The stamp up to which clients have been woken.
    changes: watch::Sender<u64>,
    /// How often the map of `rates:live` has changed.
    live: watch::Sender<u64>,
    encodes: Encodes,
    sets: Sets,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    stamp: u64,
    by_stamp: BTreeMap<u64, Arc<Slot>>,
    /// The pairs of the last changes, up to the one with the number `stamp`.
    history: VecDeque<Pair>,
    by_pair: BTreeMap<Pair, Held>,
    /// Which pairs each source says it serves.
    sources: BTreeMap<SourceName, BTreeSet<Pair>>,
    /// Whether the map of `rates:live` has changed since clients were woken.
    live_changed: bool,
}

/// What is known of a pair.
#[derive(Debug)]
struct Held {
    /// The last word of the publisher, re-confirmations included.
    quote: Arc<Quote>,
    order: Order,
    slot: Arc<Slot>,
}

/// What clients are to be sent of a pair.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pair: Pair,
    pub(crate) stamp: u64,
    /// The stamp of the last change of the pair in the map of `rates:live`, of its going included; 0 if it was never there.
    pub(crate) live_stamp: u64,
    /// The stamp of the quote itself: later ones are of its status.
    quoted: u64,
    pub(crate) frame: Frame,
    /// When this was put on the board.
    pub(crate) since: Instant,
    /// The status that the frame shows.
    status: Status,
    /// Whether the pair is served; else this is the last word about it.
    pub(crate) served: bool,
}

impl Slot {
    /// The WebSocket message for who has been sent everything up to the stamp `seen`.
    pub(crate) fn message(&self, seen: u64) -> &Bytes {
        self.frame.message(seen >= self.quoted)
    }

    /// The SSE event for who has been sent everything up to the stamp `seen`.
    pub(crate) fn event(&self, seen: u64) -> &Bytes {
        self.frame.event(seen >= self.quoted)
    }

    /// Whether this is of the same quote as what was before.
    #[cfg(test)]
    pub(crate) fn has_quote_of(&self, before: &Self) -> bool {
        self.quoted == before.quoted
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    New,
    /// What is held, vouched for once more.
    Confirmation,
    /// Not newer than what is held.
    Old,
}

impl Board {
    pub(crate) fn new() -> Self {
        let (changes, live) = (watch::Sender::new(0), watch::Sender::new(0));
        let epoch = Epoch::new(getrandom::u64().unwrap_or_default());
        let (table, stamp) = (RwLock::default(), AtomicU64::new(0));
        Self { epoch, table, stamp, changes, live, encodes: Encodes::new(), sets: Sets::default() }
    }

    /// What clients want.
    pub(crate) fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Takes over a quote if it is newer than the one held. Clients hear of it with the next [`Board::announce`].
    pub(crate) fn publish(&self, quote: &Arc<Quote>, now: Instant) {
        let (verdict, stamp) = {
            let table = self.read();
            (table.judge(quote), table.stamp + 1)
        };
        match verdict {
            Verdict::New => {
                let status = status(quote, now);
                match Frame::encode(quote, status, self.token(stamp), &self.encodes) {
                    Ok(frame) => self.put(quote, status, frame, now),
                    Err(error) => tracing::error!(pair = %quote.pair, %error, "a quote could not be encoded"),
                }
            }
            Verdict::Confirmation => self.write().confirm(quote),
            Verdict::Old => metrics::counter!("ratebus_quotes_refused_total").increment(1),
        }
    }

    /// Nothing prices the pair any more: clients are told once, and from then on it is not among the quotes.
    pub(crate) fn remove(&self, pair: Pair, now: Instant) {
        let (held, stamp) = {
            let table = self.read();
            let held = table.by_pair.get(&pair).filter(|held| held.slot.served);
            (held.map(|held| Arc::clone(&held.quote)), table.stamp + 1)
        };
        let Some(last) = held.map(|quote| Arc::new(quote.not_served())) else { return };
        match Frame::encode(&last, Status::Dead, self.token(stamp), &self.encodes) {
            Ok(frame) => self.put(&last, Status::Dead, frame, now),
            Err(error) => tracing::error!(%pair, %error, "a quote could not be encoded"),
        }
    }

    /// Takes over which pairs a source serves.
    pub(crate) fn serve(&self, list: &PairList) {
        let served = |(pair, state): &(Pair, PairState)| (!matches!(state, PairState::Refused(_))).then_some(*pair);
        let pairs = list.pairs.iter().filter_map(served).collect();
        self.write().sources.insert(list.source, pairs);
    }

    /// Wakes the clients that are owed something.
    pub(crate) fn announce(&self) {
        let (stamp, live_changed) = {
            let mut table = self.write();
            (table.stamp, std::mem::take(&mut table.live_changed))
        };
        self.changes.send_if_modified(|announced| std::mem::replace(announced, stamp) != stamp);
        if live_changed {
            self.live.send_modify(|count| *count += 1);
        }
    }

    /// Tells of what is no longer as fresh as it says, or is again. The publisher of quotes does so itself, with new
    /// versions; this is for when it is gone.
    pub(crate) fn review(&self, now: Instant) {
        let aged: Vec<_> = {
            let table = self.read();
            let aged = |held: &&Held| status(&held.quote, now) != held.slot.status;
            table.by_pair.values().filter(aged).map(|held| Arc::clone(&held.quote)).collect()
        };
        for quote in aged {
            let (status, token) = (status(&quote, now), self.token(self.stamp() + 1));
            match Frame::encode_again(&quote, status, token, &self.encodes) {
                Ok(frame) => self.put(&quote, status, frame, now),
                Err(error) => tracing::error!(pair = %quote.pair, %error, "a quote could not be encoded"),
            }
        }
    }

    /// What a client that has been sent everything up to `stamp` comes back with.
    pub(crate) fn token(&self, stamp: u64) -> Token {
        Token { board: self.epoch, stamp }
    }

    /// Up to which stamp whoever shows this token has been sent everything; `None` if it is not of this board.
    pub(crate) fn shown(&self, token: &str) -> Option<u64> {
        let Token { board, stamp } = token.parse().ok()?;
        (board == self.epoch && stamp <= self.stamp()).then_some(stamp)
    }

    /// The number of the last change.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    /// Wakes whenever something changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes whenever the map of `rates:live` changed, and counts how often it has.
    pub(crate) fn live_changes(&self) -> watch::Receiver<u64> {
        self.live.subscribe()
    }

    /// How often the map of `rates:live` has changed.
    pub(crate) fn live_change(&self) -> u64 {
        *self.live.borrow()
    }

    /// The map of `rates:live` with every pair, and the stamp up to which it has every change.
    pub(crate) fn live_map(&self) -> (String, u64) {
        self.encodes.live_maps.increment(1);
        let table = self.read();
        (frame::live_map(table.slots().map(|slot| &slot.frame)), table.stamp())
    }

    /// The table, for as long as it takes to copy references.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, quote: &Arc<Quote>, status: Status, frame: Frame, now: Instant) {
        let mut table = self.write();
        table.put(quote, status, frame, now);
        self.stamp.store(table.stamp, Ordering::Release);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The number of the last change.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// What changed last after the stamp `from` and not after `until`, the latest change last.
    pub(crate) fn between(&self, from: u64, until: u64) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_stamp.range((Excluded(from), Included(until.max(from)))).map(|(_, slot)| slot)
    }

    /// How many changes of these pairs there were between the two stamps.
    pub(crate) fn changes(&self, from: u64, until: u64, wanted: &Wanted) -> u64 {
        if wanted.is_all() {
            return until - from;
        }
        let before = self.stamp - self.history.len() as u64;
        let [from, until] =
            [from, until].map(|stamp| usize::try_from(stamp.saturating_sub(before)).unwrap_or(usize::MAX));
        self.history.range(from..until).filter(|&&pair| wanted.contains(pair)).count() as u64
    }

    /// How long ago each source last vouched for the price of any pair.
    pub(crate) fn feed_ages(&self, now: Instant) -> BTreeMap<SourceName, Duration> {
        let mut ages = BTreeMap::new();
        for held in self.by_pair.values().filter(|held| held.slot.served) {
            let age = held.quote.feed_age(now);
            ages.entry(held.quote.source).and_modify(|least: &mut Duration| *least = age.min(*least)).or_insert(age);
        }
        ages
    }

    /// The slots of all pairs that are served, by pair.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_pair.values().map(|held| &held.slot).filter(|slot| slot.served)
    }

    /// Whether anybody serves the pair.
    pub(crate) fn knows(&self, pair: Pair) -> bool {
        let has_quote = self.by_pair.get(&pair).is_some_and(|held| held.slot.served);
        has_quote || self.sources.values().any(|pairs| pairs.contains(&pair))
    }

    /// Every pair that somebody serves.
    pub(crate) fn pairs(&self) -> BTreeSet<Pair> {
        self.slots().map(|slot| &slot.pair).chain(self.sources.values().flatten()).copied().collect()
    }

    fn judge(&self, quote: &Quote) -> Verdict {
        let Some(held) = self.by_pair.get(&quote.pair) else { return Verdict::New };
        if held.quote.version == quote.version {
            Verdict::Confirmation
        } else if held.order.check(quote.version).is_ok() {
            Verdict::New
        } else {
            Verdict::Old
        }
    }

    fn confirm(&mut self, quote: &Arc<Quote>) {
        if let Some(held) = self.by_pair.get_mut(&quote.pair) {
            held.quote = Arc::clone(quote);
        }
    }

    fn put(&mut self, quote: &Arc<Quote>, status: Status, frame: Frame, now: Instant) {
        self.stamp += 1;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(quote.pair);
        let (mut quoted, mut order) = (self.stamp, Order::starting_with(quote.version));
        let (mut is_live, mut live_stamp) = (frame.live().is_some(), 0);
        if let Some(before) = self.by_pair.remove(&quote.pair) {
            self.by_stamp.remove(&before.slot.stamp);
            is_live |= before.slot.frame.live().is_some();
            live_stamp = before.slot.live_stamp;
            order = before.order;
            // It was judged before: it is newer, or the same with another status.
            if order.advance(quote.version).is_err() {
                quoted = before.slot.quoted;
            }
        }
        if is_live {
            self.live_changed = true;
            live_stamp = self.stamp;
        }
        let served = quote.customer != Err(Withheld::NotServed);
        let slot = Slot { pair: quote.pair, stamp: self.stamp, live_stamp, quoted, frame, since: now, status, served };
        let slot = Arc::new(slot);
        self.by_stamp.insert(slot.stamp, Arc::clone(&slot));
        self.by_pair.insert(quote.pair, Held { quote: Arc::clone(quote), order, slot });
    }
}

/// How fresh the quote is now, and never fresher than its publisher said.
fn status(quote: &Quote, now: Instant) -> Status {
    quote.status(now).max(quote.published_status)
}
