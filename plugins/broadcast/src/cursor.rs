use std::sync::Arc;

use crate::{
    board::{Board, Slot, Table},
    wanted::{PairPattern, Wanted},
};

/// How many quotes are taken off the board at once. It bounds what is buffered for a client, and how much a slow one
/// has to take before that counts as progress.
pub(crate) const AT_ONCE: usize = if cfg!(test) { 2 } else { 64 };

/// How many patterns of many pairs a client may have, which need not match anything. Pairs are no more than are served.
pub(crate) const MAX_PATTERNS: usize = 64;

/// What one client wants and how far it has been served. Clients that want the same and are equally far are owed the
/// same.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    wanted: Arc<Wanted>,
    /// Everything that is wanted has been taken up to this stamp.
    seen: u64,
    /// Whether it has been sent the quote of every pair then: who has taken a part of what was owed may have been passed by
    /// the quote of a pair whose status has changed meanwhile.
    is_whole: bool,
    addition: Option<Box<Addition>>,
}

/// What is to be wanted from now on. First comes what the client has missed of the rest, up to the same stamp: so one
/// stamp says how far it has been served with everything.
#[derive(Debug, Clone)]
struct Addition {
    /// Everything wanted then.
    wanted: Arc<Wanted>,
    /// What is new has been taken up to this stamp,
    at: u64,
    /// and is a snapshot up to this one, which the board has when the first part is taken: what changes until the last
    /// one is, comes as a change.
    until: Option<u64>,
}

/// Tells cursors apart that are owed different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    wanted: u64,
    seen: u64,
    is_whole: bool,
    addition: Option<(u64, u64, Option<u64>)>,
}

/// A client would have more than [`MAX_PATTERNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyPatterns;

/// What a client is owed.
#[derive(Debug)]
pub(crate) struct Owed {
    /// Each pair once, at its newest.
    pub(crate) slots: Vec<Arc<Slot>>,
    /// Up to which stamp it is certain that the client had been sent everything before.
    pub(crate) known: u64,
    /// How many changes those made superfluous.
    pub(crate) conflated: u64,
    pub(crate) kind: Kind,
    /// Whether there is more on the board already.
    pub(crate) has_more: bool,
}

/// How quotes are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As what changed.
    Changes,
    /// As a snapshot, or a part of one, which may be empty.
    Snapshot { is_last: bool },
}

impl Cursor {
    /// No pairs.
    pub(crate) fn none(board: &Board) -> Self {
        Self { wanted: board.sets().of(Vec::new()), seen: board.stamp(), is_whole: true, addition: None }
    }

    /// These pairs, a snapshot first.
    pub(crate) fn of(board: &Board, patterns: &[PairPattern]) -> Self {
        let mut cursor = Self::none(board);
        cursor.begin(board, cursor.wanted.with(patterns).unwrap_or_default());
        cursor
    }

    /// These pairs, of which everything has been sent that the board had at the stamp `seen`.
    pub(crate) fn after(board: &Board, patterns: &[PairPattern], seen: u64) -> Self {
        let mut cursor = Self::of(board, patterns);
        cursor.skip_snapshot();
        Self { seen, ..cursor }
    }

    /// As [`Cursor::after`], for a client that says that it has been sent something with this stamp.
    pub(crate) fn resumed(board: &Board, patterns: &[PairPattern], seen: u64) -> Self {
        Self { is_whole: false, ..Self::after(board, patterns, seen) }
    }

    /// Takes what the client has not been sent yet, at most [`AT_ONCE`] quotes.
    pub(crate) fn take(&mut self, board: &Board) -> Owed {
        let table = board.read();
        let until = self.addition.as_ref().and_then(|addition| addition.until).unwrap_or(table.stamp());
        let changes = self.take_changes(&table, until);
        let owed =
            if changes.slots.is_empty() { self.take_snapshot(&table, until).unwrap_or(changes) } else { changes };
        self.is_whole = self.is_at(table.stamp());
        Owed { has_more: !self.is_whole, ..owed }
    }

    fn take_changes(&mut self, table: &Table, until: u64) -> Owed {
        let (before, known) = (self.seen, if self.is_whole { self.seen } else { 0 });
        let slots;
        (slots, self.seen) = collect(table, before, until, |slot| self.wanted.contains(slot.pair));
        let changes = table.changes(before, self.seen, &self.wanted);
        let conflated = changes.saturating_sub(slots.len() as u64);
        Owed { conflated, slots, known, kind: Kind::Changes, has_more: false }
    }

    fn take_snapshot(&mut self, table: &Table, stamp: u64) -> Option<Owed> {
        let Addition { wanted, at, until } = self.addition.as_deref_mut()?;
        *until = Some(stamp);
        let is_new = |slot: &Slot| slot.served && wanted.contains(slot.pair) && !self.wanted.contains(slot.pair);
        let mut slots;
        (slots, *at) = collect(table, *at, stamp, is_new);
        slots.sort_unstable_by_key(|slot| slot.pair);
        let is_last = *at == stamp;
        if is_last {
            self.skip_snapshot();
        }
        Some(Owed { slots, known: 0, conflated: 0, kind: Kind::Snapshot { is_last }, has_more: false })
    }

    /// Takes the newest quotes of everything that is wanted, whatever was taken before.
    pub(crate) fn restart(&mut self, board: &Board) -> Vec<Arc<Slot>> {
        self.skip_snapshot();
        let table = board.read();
        (self.seen, self.is_whole) = (table.stamp(), true);
        table.slots().filter(|slot| self.wanted.contains(slot.pair)).cloned().collect()
    }

    fn skip_snapshot(&mut self) {
        if let Some(addition) = self.addition.take() {
            self.wanted = addition.wanted;
        }
    }

    /// Up to which stamp everything has been taken; `None` while that is another for what has been added.
    pub(crate) fn seen(&self) -> Option<u64> {
        match &self.addition {
            None => Some(self.seen),
            Some(addition) => self.wanted.is_empty().then_some(addition.at),
        }
    }

    /// Whether a snapshot is due.
    pub(crate) fn is_adding(&self) -> bool {
        self.addition.is_some()
    }

    /// Whether there is nothing for it where the board has this stamp.
    pub(crate) fn is_at(&self, stamp: u64) -> bool {
        self.seen == stamp && self.addition.is_none()
    }

    /// Where it stands: at the same moment, others there are owed the same.
    pub(crate) fn position(&self) -> Position {
        let addition = self.addition.as_ref().map(|addition| (addition.wanted.id(), addition.at, addition.until));
        Position { wanted: self.wanted.id(), seen: self.seen, is_whole: self.is_whole, addition }
    }

    /// Goes where another has gone from the same position.
    pub(crate) fn follow(&mut self, other: &Self) {
        if self.addition.is_some() {
            self.clone_from(other);
        }
        // All that want the same count references to it in one place: it is left alone where it can be.
        (self.seen, self.is_whole) = (other.seen, other.is_whole);
    }

    /// Adds pairs, with a snapshot of those that are new here. Returns whether any is. Not while a part of another has
    /// been taken.
    pub(crate) fn subscribe(&mut self, board: &Board, added: &[PairPattern]) -> Result<bool, TooManyPatterns> {
        let Some(patterns) = self.wanted().with(added) else { return Ok(false) };
        if patterns.iter().filter(|pattern| pattern.is_many()).count() > MAX_PATTERNS {
            return Err(TooManyPatterns);
        }
        self.begin(board, patterns);
        Ok(true)
    }

    /// Removes pairs. Of a pattern that is removed in part those stay that somebody serves now, without those to come.
    pub(crate) fn unsubscribe(&mut self, board: &Board, removed: &[PairPattern]) {
        let known = board.read().pairs();
        let without = |wanted: &Wanted| board.sets().of(wanted.without(removed, known.iter().copied()));
        self.wanted = without(&self.wanted);
        if let Some(addition) = &mut self.addition {
            addition.wanted = without(&addition.wanted);
        }
    }

    /// What is subscribed, once the snapshot that is due has been taken.
    pub(crate) fn wanted(&self) -> &Wanted {
        self.addition.as_ref().map_or(&self.wanted, |addition| &addition.wanted)
    }

    fn begin(&mut self, board: &Board, patterns: Vec<PairPattern>) {
        let wanted = board.sets().of(patterns);
        self.addition = Some(Box::new(Addition { wanted, at: 0, until: None }));
    }
}

/// The slots with a stamp above `from` and up to `until` that are wanted, at most [`AT_ONCE`]; and up to which stamp
/// these are all.
fn collect(table: &Table, from: u64, until: u64, is_wanted: impl Fn(&Slot) -> bool) -> (Vec<Arc<Slot>>, u64) {
    let (mut slots, mut last) = (Vec::new(), from);
    for slot in table.between(from, until).filter(|slot| is_wanted(slot)) {
        if slots.len() == AT_ONCE {
            return (slots, last);
        }
        slots.push(Arc::clone(slot));
        last = slot.stamp;
    }
    (slots, until)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;
    use ratebus_model::{Pair, Quote};
    use ratebus_sdk::Clock;

    use super::*;
    use crate::quotes::{pair, quote};

    const PAIRS: [&str; 4] = ["BTC_USD", "ETH_USD", "BTC_EUR", "ETH_EUR"];
    const PATTERNS: [&str; 7] = ["BTC_USD", "ETH_USD", "BTC_EUR", "ETH_EUR", "BTC_*", "*_USD", ">"];

    #[derive(Debug, Clone)]
    enum Step {
        Publish(usize),
        /// The publisher is not heard any more, or is again.
        Age(usize, bool),
        Take,
        /// Connect again, after so many of the quotes that are taken next have arrived.
        Return(usize),
        Subscribe(usize),
        Unsubscribe(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pair = 0..PAIRS.len();
        prop_oneof![
            4 => pair.clone().prop_map(Step::Publish),
            2 => (pair, any::<bool>()).prop_map(|(pair, is_silent)| Step::Age(pair, is_silent)),
            3 => Just(Step::Take),
            1 => (0..=AT_ONCE).prop_map(Step::Return),
            1 => (0..PATTERNS.len()).prop_map(Step::Subscribe),
            1 => (0..PATTERNS.len()).prop_map(Step::Unsubscribe),
        ]
    }

    fn pattern(index: usize) -> PairPattern {
        PATTERNS[index].parse().unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A client, and what it has been sent: the last change of each pair since it subscribes to it.
    struct Client {
        board: Board,
        quotes: Vec<Quote>,
        cursor: Cursor,
        sent: BTreeMap<Pair, Arc<Slot>>,
        /// With what it can come back: what the last message said, or `None` before the end of a snapshot.
        position: Option<u64>,
        /// The changes, those it was sent, and those that were conflated.
        changes: u64,
        counted: u64,
        has_all: bool,
    }

    impl Client {
        fn new(pattern: Option<PairPattern>) -> Self {
            let board = Board::new();
            let quotes: Vec<_> = PAIRS.iter().map(|text| quote(text, 1)).collect();
            for quote in &quotes {
                board.publish(&Arc::new(quote.clone()), Clock.now());
            }
            let cursor = Cursor::of(&board, pattern.as_slice());
            let has_all = pattern == Some(PairPattern::ALL);
            Self { board, quotes, cursor, sent: BTreeMap::new(), position: None, changes: 0, counted: 0, has_all }
        }

        /// The first `count` that are owed arrive. Every quote is subscribed to and newer than the one before, a snapshot has
        /// only what is new here, and the status alone is for who has the quote.
        fn take(&mut self, count: usize) {
            let owed = self.cursor.take(&self.board);
            for slot in owed.slots.iter().take(count) {
                assert!(self.cursor.wanted().contains(slot.pair), "{} is not subscribed", slot.pair);
                let last = self.sent.insert(slot.pair, Arc::clone(slot));
                match owed.kind {
                    Kind::Snapshot { .. } => assert!(last.is_none(), "{last:?} {slot:?}"),
                    Kind::Changes => {
                        assert!(last.as_ref().is_none_or(|last| last.stamp < slot.stamp), "{last:?} {slot:?}");
                        let is_status = slot.message(owed.known) != slot.message(0);
                        assert!(!is_status || last.is_some_and(|last| slot.has_quote_of(&last)), "{slot:?}");
                        if let Some(position) = &mut self.position {
                            *position = slot.stamp;
                        }
                    }
                }
            }
            if count >= owed.slots.len() && !self.cursor.is_adding() {
                self.position = self.cursor.seen();
            }
            if owed.kind == Kind::Changes {
                self.counted += owed.slots.len() as u64 + owed.conflated;
            }
        }

        /// Whoever has taken everything is at the newest quote of each pair.
        fn take_all(&mut self) {
            while !self.cursor.is_at(self.board.stamp()) {
                self.take(AT_ONCE);
            }
            for slot in self.board.read().slots() {
                let sent = self.sent.get(&slot.pair).map(|sent| sent.stamp);
                assert!(!self.cursor.wanted().contains(slot.pair) || sent == Some(slot.stamp), "{sent:?} {slot:?}");
            }
            assert!(!self.has_all || self.counted == self.changes, "{} of {}", self.counted, self.changes);
        }

        fn step(&mut self, step: &Step) {
            let before = self.board.stamp();
            match *step {
                Step::Publish(index) => {
                    let quote = &mut self.quotes[index];
                    quote.version = quote.version.next();
                    self.board.publish(&Arc::new(quote.clone()), Clock.now());
                }
                Step::Age(index, is_silent) => {
                    let now = Clock.now() + Duration::from_mins(90);
                    let confirmed_at = if is_silent { Clock.now() } else { now };
                    for (other, quote) in self.quotes.iter_mut().enumerate() {
                        quote.confirmed_at = if other == index { confirmed_at } else { quote.confirmed_at.max(now) };
                        self.board.publish(&Arc::new(quote.clone()), now);
                    }
                    self.board.review(now);
                }
                Step::Take => self.take(AT_ONCE),
                // While a snapshot is due nobody is heard.
                Step::Subscribe(_) | Step::Unsubscribe(_) if self.cursor.is_adding() => {}
                Step::Return(count) => {
                    self.take(count);
                    if let Some(position) = self.position {
                        let patterns = self.cursor.wanted().patterns().to_vec();
                        self.cursor = Cursor::resumed(&self.board, &patterns, position);
                        self.has_all = false;
                    } else {
                        // What it has of a snapshot is of no use.
                        self.cursor = Cursor::of(&self.board, self.cursor.wanted().patterns());
                        self.sent.clear();
                        self.has_all = false;
                    }
                }
                Step::Subscribe(index) => {
                    let before = PAIRS.map(|text| self.cursor.wanted().contains(pair(text)));
                    let is_new = self.cursor.subscribe(&self.board, &[pattern(index)]) == Ok(true);
                    assert!(is_new || PAIRS.map(|text| self.cursor.wanted().contains(pair(text))) == before);
                    if is_new {
                        self.position = None;
                    }
                }
                Step::Unsubscribe(index) => {
                    self.cursor.unsubscribe(&self.board, &[pattern(index)]);
                    self.has_all = false;
                    let wanted = self.cursor.wanted();
                    self.sent.retain(|&pair, _| wanted.contains(pair));
                }
            }
            let changes = self.board.stamp() - before;
            self.changes += changes;
            // What changes before the snapshot is taken is a part of it.
            self.has_all &= changes == 0 || !self.cursor.is_adding();
        }
    }

    #[test]
    fn there_are_so_many_patterns_and_no_more() {
        let board = Board::new();
        let pattern = |n: usize| format!("A{n}_*").parse().unwrap_or(PairPattern::ALL);
        let mut cursor = Cursor::of(&board, &[]);
        let _ = cursor.take(&board);
        assert_eq!(cursor.subscribe(&board, &(1..MAX_PATTERNS).map(pattern).collect::<Vec<_>>()), Ok(true));
        let _ = cursor.take(&board);
        assert_eq!(cursor.subscribe(&board, &[pattern(0), pattern(MAX_PATTERNS)]), Err(TooManyPatterns));
        assert_eq!(cursor.subscribe(&board, &[pair("A0_USD").into(), pattern(0)]), Ok(true));
        assert_eq!(cursor.wanted().patterns().len(), MAX_PATTERNS);
    }

    proptest! {
        #[test]
        fn nothing_is_missed_or_sent_twice(
            start in prop::option::of(0..PATTERNS.len()),
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let mut client = Client::new(start.map(pattern));
            for step in &steps {
                client.step(step);
            }
            client.take_all();
        }
    }
}
