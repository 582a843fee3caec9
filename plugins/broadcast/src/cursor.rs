use std::{collections::BTreeMap, sync::Arc};

use ratebus_model::Pair;

use crate::board::{Board, Slot, Table};

/// How many quotes are taken off the board at once. It bounds what is buffered for a client, and how much a slow one
/// has to take before that counts as progress.
pub(crate) const AT_ONCE: usize = 64;

/// What one client wants and how far it has been served.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    /// Everything up to this stamp has been taken.
    seen: u64,
    wanted: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    /// Every pair, those to come included.
    All,
    /// These, and which change of each was taken last.
    Only(BTreeMap<Pair, u64>),
}

/// What a client is owed.
#[derive(Debug)]
pub(crate) struct Owed {
    /// Each pair once, at its newest.
    pub(crate) slots: Vec<Arc<Slot>>,
    /// How many changes those made superfluous.
    pub(crate) conflated: u64,
}

impl Cursor {
    /// No pairs.
    pub(crate) fn none() -> Self {
        Self { seen: 0, wanted: Wanted::Only(BTreeMap::new()) }
    }

    /// Every pair, and the newest quotes of all of them. What is taken later has changed since.
    pub(crate) fn all(board: &Board) -> (Self, Vec<Arc<Slot>>) {
        let table = board.read();
        (Self { seen: table.stamp(), wanted: Wanted::All }, table.slots().cloned().collect())
    }

    /// Every pair, of which everything up to `stamp` is known.
    pub(crate) fn all_after(stamp: u64) -> Self {
        Self { seen: stamp, wanted: Wanted::All }
    }

    /// These pairs, and the newest quotes of those that have one.
    pub(crate) fn only(board: &Board, pairs: &[Pair]) -> (Self, Vec<Arc<Slot>>) {
        let mut cursor = Self::none();
        let slots = cursor.subscribe(board, pairs).unwrap_or_default();
        (cursor, slots)
    }

    /// Goes back, or on: what changed after the stamp `seen` is owed, and nothing else.
    pub(crate) fn rewind(&mut self, board: &Board, seen: u64) {
        self.seen = seen;
        if let Wanted::Only(pairs) = &mut self.wanted {
            let table = board.read();
            for (pair, sent) in pairs {
                *sent = taken(&table, *pair, seen);
            }
        }
    }

    /// Everything up to this stamp has been taken.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes what the client has not been sent yet, at most [`AT_ONCE`] quotes.
    pub(crate) fn take(&mut self, board: &Board) -> Owed {
        let mut owed = Owed { slots: Vec::new(), conflated: 0 };
        let table = board.read();
        for slot in table.after(self.seen) {
            if owed.slots.len() == AT_ONCE {
                break;
            }
            match &mut self.wanted {
                Wanted::All => {
                    // The stamps between belonged to changes that newer ones have replaced since.
                    owed.conflated += slot.stamp - self.seen - 1;
                    owed.slots.push(Arc::clone(slot));
                }
                Wanted::Only(pairs) => {
                    if let Some(sent) = pairs.get_mut(&slot.pair).filter(|sent| **sent < slot.count) {
                        owed.conflated += slot.count - *sent - 1;
                        *sent = slot.count;
                        owed.slots.push(Arc::clone(slot));
                    }
                }
            }
            self.seen = slot.stamp;
        }
        owed
    }

    /// Takes the newest quotes of everything that is wanted, whatever was taken before.
    pub(crate) fn restart(&mut self, board: &Board) -> Vec<Arc<Slot>> {
        let table = board.read();
        self.seen = table.stamp();
        match &mut self.wanted {
            Wanted::All => table.slots().cloned().collect(),
            Wanted::Only(pairs) => {
                let newest = pairs.iter_mut().filter_map(|(&pair, sent)| {
                    let slot = table.slot(pair)?;
                    *sent = slot.count;
                    Some(Arc::clone(slot))
                });
                newest.collect()
            }
        }
    }

    /// Up to which stamp a client of every pair has been served; what it is owed depends on nothing else.
    pub(crate) fn seen_of_all(&self) -> Option<u64> {
        matches!(self.wanted, Wanted::All).then_some(self.seen)
    }

    /// Adds pairs. Returns the newest quotes of those that are new here, or `None` if none is.
    pub(crate) fn subscribe(&mut self, board: &Board, added: &[Pair]) -> Option<Vec<Arc<Slot>>> {
        let Wanted::Only(pairs) = &mut self.wanted else { return None };
        let table = board.read();
        let mut slots = Vec::new();
        let before = pairs.len();
        for &pair in added {
            pairs.entry(pair).or_insert_with(|| {
                let slot = table.slot(pair);
                slots.extend(slot.cloned());
                slot.map_or(0, |slot| slot.count)
            });
        }
        (pairs.len() > before).then_some(slots)
    }

    /// Removes pairs. Who had every pair has the remaining ones from now on, without those to come.
    pub(crate) fn unsubscribe(&mut self, board: &Board, removed: &[Pair]) {
        if let Wanted::All = self.wanted {
            let table = board.read();
            let pairs = table.pairs().into_iter().map(|pair| (pair, taken(&table, pair, self.seen)));
            self.wanted = Wanted::Only(pairs.collect());
        }
        if let Wanted::Only(pairs) = &mut self.wanted {
            for pair in removed {
                pairs.remove(pair);
            }
        }
    }

    /// The pairs subscribed, in order.
    pub(crate) fn pairs(&self, board: &Board) -> Vec<Pair> {
        match &self.wanted {
            Wanted::All => board.read().pairs().into_iter().collect(),
            Wanted::Only(pairs) => pairs.keys().copied().collect(),
        }
    }
}

/// Which change of `pair` who has seen everything up to a stamp has taken; of several later ones, all but the last count as
/// taken.
fn taken(table: &Table, pair: Pair, seen: u64) -> u64 {
    table.slot(pair).map_or(0, |slot| slot.count - u64::from(slot.stamp > seen))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use ratebus_sdk::Clock;

    use super::*;
    use crate::quotes::{pair, quote};

    const PAIRS: [&str; 3] = ["BTC_USD", "ETH_USD", "SOL_USD"];

    #[derive(Debug, Clone)]
    enum Step {
        Publish(usize),
        Take,
        /// Connect again, with what was taken last.
        Return,
        Subscribe(usize),
        Unsubscribe(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pair = 0..PAIRS.len();
        prop_oneof![
            4 => pair.clone().prop_map(Step::Publish),
            2 => Just(Step::Take),
            1 => Just(Step::Return),
            1 => pair.clone().prop_map(Step::Subscribe),
            1 => pair.prop_map(Step::Unsubscribe),
        ]
    }

    /// A client of every pair or of none, and what it has been sent: the last sequence of each pair it subscribes to.
    struct Client {
        board: Board,
        sequences: [u64; PAIRS.len()],
        cursor: Cursor,
        sent: BTreeMap<Pair, u64>,
        subscribed: BTreeSet<Pair>,
    }

    impl Client {
        fn new(all: bool) -> Self {
            let board = Board::new();
            for text in PAIRS {
                board.publish(&Arc::new(quote(text, 1)), Clock.now());
            }
            let (cursor, slots) = if all { Cursor::all(&board) } else { Cursor::only(&board, &[]) };
            let subscribed = slots.iter().map(|slot| slot.pair).collect();
            let mut client = Self { board, sequences: [1; PAIRS.len()], cursor, sent: BTreeMap::new(), subscribed };
            client.receive(&slots);
            client
        }

        /// Every quote is subscribed to and newer than the one before.
        fn receive(&mut self, slots: &[Arc<Slot>]) {
            for slot in slots {
                assert!(self.subscribed.contains(&slot.pair), "{} is not subscribed", slot.pair);
                let before = self.sent.insert(slot.pair, slot.count);
                assert!(before.is_none_or(|before| before < slot.count), "{before:?} {slot:?}");
            }
        }

        fn take(&mut self) {
            let before: u64 = self.sent.values().sum();
            let owed = self.cursor.take(&self.board);
            self.receive(&owed.slots);
            // Whoever has taken everything is at the newest quote of each pair.
            for (&text, &sequence) in PAIRS.iter().zip(&self.sequences) {
                let sent = self.sent.get(&pair(text));
                assert!(
                    !self.subscribed.contains(&pair(text)) || sent == Some(&sequence),
                    "{text}: {sent:?} {sequence}"
                );
            }
            let changes = self.sent.values().sum::<u64>() - before;
            assert!(owed.slots.len() as u64 + owed.conflated <= changes, "{} conflated of {changes}", owed.conflated);
        }

        fn step(&mut self, step: &Step) {
            match *step {
                Step::Publish(index) => {
                    self.sequences[index] += 1;
                    self.board.publish(&Arc::new(quote(PAIRS[index], self.sequences[index])), Clock.now());
                }
                Step::Take => self.take(),
                Step::Return => {
                    self.take();
                    let seen = self.cursor.seen();
                    self.cursor = match self.cursor.wanted {
                        Wanted::All => Cursor::all(&self.board).0,
                        Wanted::Only(_) => Cursor::only(&self.board, &self.cursor.pairs(&self.board)).0,
                    };
                    self.cursor.rewind(&self.board, seen);
                }
                Step::Subscribe(index) => {
                    let pair = pair(PAIRS[index]);
                    let added = self.cursor.subscribe(&self.board, &[pair]);
                    assert_eq!(added.is_some(), self.subscribed.insert(pair));
                    if let Some(slots) = added {
                        self.sent.remove(&pair);
                        self.receive(&slots);
                    }
                }
                Step::Unsubscribe(index) => {
                    let pair = pair(PAIRS[index]);
                    self.cursor.unsubscribe(&self.board, &[pair]);
                    self.subscribed.remove(&pair);
                }
            }
            assert_eq!(self.cursor.pairs(&self.board), self.subscribed.iter().copied().collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn nothing_is_missed_or_sent_twice(all: bool, steps in prop::collection::vec(step(), 0..40)) {
            let mut client = Client::new(all);
            for step in &steps {
                client.step(step);
            }
            client.take();
        }
    }
}
