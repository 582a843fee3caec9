use std::{collections::BTreeMap, sync::Arc};

use ratebus_model::Pair;

use crate::board::{Board, Slot, Table};

/// How many quotes are taken off the board at once. It bounds what is buffered for a client, and how much a slow one
/// has to take before that counts as progress.
pub(crate) const AT_ONCE: usize = 64;

/// What one client wants and how far it has been served.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Everything up to this stamp has been taken.
    seen: u64,
    wanted: Wanted,
}

#[derive(Debug)]
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
    /// Every pair, and the newest quotes of all of them. What is taken later has changed since.
    pub(crate) fn all(board: &Board) -> (Self, Vec<Arc<Slot>>) {
        let table = board.read();
        (Self { seen: table.stamp(), wanted: Wanted::All }, table.slots().cloned().collect())
    }

    /// These pairs, and the newest quotes of those that have one.
    pub(crate) fn only(board: &Board, pairs: &[Pair]) -> (Self, Vec<Arc<Slot>>) {
        let mut cursor = Self { seen: 0, wanted: Wanted::Only(BTreeMap::new()) };
        let slots = cursor.subscribe(board, pairs).unwrap_or_default();
        (cursor, slots)
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
            let taken = |pair: Pair| (pair, self.taken(&table, pair));
            self.wanted = Wanted::Only(table.pairs().into_iter().map(taken).collect());
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

    /// Which change of `pair` a client of every pair has taken.
    fn taken(&self, table: &Table, pair: Pair) -> u64 {
        table.slot(pair).map_or(0, |slot| slot.count - u64::from(slot.stamp > self.seen))
    }
}
