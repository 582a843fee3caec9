//! What many clients are owed alike, put together once.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;

use crate::{
    board::{Board, Slot},
    cursor::{Cursor, Owed},
};

/// Quotes as one write.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) quotes: usize,
    /// How many changes those made superfluous.
    pub(crate) conflated: u64,
    /// When the oldest of them was put on the board.
    pub(crate) since: Instant,
}

/// What a quote is in a batch, for who has seen everything up to a stamp; `None` if that is nothing.
type Part = fn(&Slot, u64) -> Option<&Bytes>;

/// The batches for clients of every pair. All that are up to date are owed the same, and share its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    part: Part,
    /// The board's edition that these belong to.
    edition: (u64, u64),
    /// By what a client has seen: what it is owed, and where its cursor stands then.
    by_seen: HashMap<u64, (Batch, Cursor)>,
}

impl Batches {
    pub(crate) fn new(part: Part) -> Self {
        Self { part, edition: (0, 0), by_seen: HashMap::new() }
    }

    /// Takes what a client has not been sent yet, at most as much as [`Cursor::take`] does; `None` if that is nothing.
    pub(crate) fn take(&mut self, cursor: &mut Cursor, board: &Board) -> Option<Batch> {
        let Some(seen) = cursor.seen_of_all() else { return self.join(cursor, board) };
        let edition @ (stamp, _) = board.read().edition();
        if seen == stamp {
            return None;
        }
        if self.edition != edition {
            self.edition = edition;
            self.by_seen.clear();
        }
        if let Some((batch, after)) = self.by_seen.get(&seen) {
            cursor.clone_from(after);
            return Some(batch.clone());
        }
        let batch = self.join(cursor, board)?;
        self.by_seen.insert(seen, (batch.clone(), cursor.clone()));
        Some(batch)
    }

    /// What comes next that is anything to the client.
    fn join(&self, cursor: &mut Cursor, board: &Board) -> Option<Batch> {
        loop {
            let seen = cursor.seen();
            let Owed { slots, conflated } = cursor.take(board);
            if slots.is_empty() {
                return None;
            }
            let parts: Vec<_> = slots.iter().filter_map(|slot| Some((slot, (self.part)(slot, seen)?))).collect();
            let Some(since) = parts.iter().map(|(slot, _)| slot.since).min() else { continue };
            let bytes = match parts.as_slice() {
                [(_, part)] => Bytes::clone(part),
                parts => parts.iter().map(|(_, part)| &part[..]).collect::<Vec<_>>().concat().into(),
            };
            return Some(Batch { bytes, quotes: parts.len(), conflated, since });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use ratebus_sdk::Clock;

    use super::*;
    use crate::quotes::quote;

    #[test]
    fn who_is_owed_the_same_shares_its_bytes() {
        let (board, mut batches) = (Board::new(), Batches::new(|slot, _| Some(slot.frame.message())));
        let publish = |pair, sequence| board.publish(&Arc::new(quote(pair, sequence)), Clock.now());
        publish("BTC_USD", 1);
        let [mut first, mut second, mut behind] = [(); 3].map(|()| Cursor::all(&board).0);
        assert!(batches.take(&mut first, &board).is_none());
        publish("BTC_USD", 2);
        let _ = (batches.take(&mut first, &board), batches.take(&mut second, &board));
        publish("BTC_USD", 3);
        publish("ETH_USD", 1);
        let [one, other] = [&mut first, &mut second].map(|cursor| batches.take(cursor, &board).unwrap());
        assert_eq!((one.quotes, one.conflated), (2, 0));
        assert_eq!(one.bytes.as_ptr(), other.bytes.as_ptr());
        let late = batches.take(&mut behind, &board).unwrap();
        assert_eq!((late.quotes, late.conflated, &late.bytes), (2, 1, &one.bytes));
        for cursor in [&mut first, &mut second, &mut behind] {
            assert!(batches.take(cursor, &board).is_none());
        }
    }

    #[test]
    fn who_comes_late_is_not_told_that_what_has_aged_is_fresh() {
        let (board, mut batches) = (Board::new(), Batches::new(|slot, _| Some(slot.frame.message())));
        let quote = Arc::new(quote("BTC_USD", 1));
        let [mut prompt, mut late] = [(); 2].map(|()| Cursor::all(&board).0);
        board.publish(&quote, Clock.now());
        let told = |batch: Option<Batch>| String::from_utf8_lossy(&batch.unwrap().bytes).into_owned();
        assert!(told(batches.take(&mut prompt, &board)).contains(r#""status":"fresh""#));
        board.review(quote.confirmed_at + quote.limits.stale_after + Duration::from_secs(1));
        assert!(told(batches.take(&mut late, &board)).contains(r#""status":"stale""#));
    }
}
