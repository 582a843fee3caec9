//! What many clients are owed alike, put together once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    board::{Board, Slot},
    cursor::{Cursor, Kind, Owed, Position},
    frame,
};

/// How many batches are kept at once. Where clients want more than that many different things, some are put together
/// again.
pub(crate) const SHARED: usize = 256;

/// Quotes as one write.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) quotes: usize,
    /// How many changes those made superfluous.
    pub(crate) conflated: u64,
    pub(crate) kind: Kind,
    /// Whether there is more to come already.
    pub(crate) has_more: bool,
    /// When the oldest change in it was put on the board; nothing of a snapshot is late.
    pub(crate) since: Option<Instant>,
}

/// What a quote is in a batch, for who has seen everything up to a stamp; `None` if that is nothing.
type Part = fn(&Slot, u64) -> Option<&Bytes>;

/// The batches for clients of one loop. All that want the same and are equally far are owed the same, and share its
/// bytes.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    part: Part,
    /// The board's stamp that these belong to.
    stamp: u64,
    /// By where a client is: what it is owed, and where it is then.
    shared: BTreeMap<Position, (Option<Batch>, Cursor)>,
}

impl Batches {
    pub(crate) fn new(part: Part) -> Self {
        Self { part, stamp: 0, shared: BTreeMap::new() }
    }

    /// Takes what a client has not been sent yet, at most as much as [`Cursor::take`] does; `None` if that is nothing.
    pub(crate) fn take(&mut self, cursor: &mut Cursor, board: &Board) -> Option<&Batch> {
        let stamp = board.stamp();
        if cursor.is_at(stamp) {
            return None;
        }
        if self.stamp != stamp {
            self.stamp = stamp;
            self.shared.clear();
        }
        let position = cursor.position();
        if self.shared.len() == SHARED && !self.shared.contains_key(&position) {
            self.shared.pop_first();
        }
        // Not a clone: the count of references to the bytes is shared by all loops.
        let batch = match self.shared.entry(position) {
            Entry::Occupied(shared) => {
                let (batch, after) = shared.into_mut();
                cursor.follow(after);
                batch
            }
            Entry::Vacant(place) => {
                let batch = join(self.part, cursor, board);
                &mut place.insert((batch, cursor.clone())).0
            }
        };
        batch.as_ref()
    }
}

/// What comes next that is anything to a client.
fn join(part: Part, cursor: &mut Cursor, board: &Board) -> Option<Batch> {
    loop {
        let Owed { slots, known, conflated, kind, has_more } = cursor.take(board);
        if let Kind::Snapshot { .. } = kind {
            let token = cursor.seen().map(|seen| board.token(seen));
            let bytes = frame::snapshot_message(token, slots.iter().map(|slot| &slot.frame));
            return Some(Batch { bytes, quotes: slots.len(), conflated, kind, has_more, since: None });
        }
        if slots.is_empty() {
            return None;
        }
        let parts: Vec<_> = slots.iter().filter_map(|slot| Some((slot, part(slot, known)?))).collect();
        let Some(since) = parts.iter().map(|(slot, _)| slot.since).min() else { continue };
        let bytes = match parts.as_slice() {
            [(_, part)] => Bytes::clone(part),
            parts => parts.iter().map(|(_, part)| &part[..]).collect::<Vec<_>>().concat().into(),
        };
        return Some(Batch { bytes, quotes: parts.len(), conflated, kind, has_more, since: Some(since) });
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use proptest::prelude::*;
    use ratebus_model::Quote;
    use ratebus_sdk::Clock;

    use super::*;
    use crate::{quotes::quote, wanted::PairPattern};

    fn cursor(board: &Board, texts: &[&str]) -> Cursor {
        let patterns: Vec<PairPattern> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        assert_eq!(patterns.len(), texts.len());
        let mut cursor = Cursor::of(board, &patterns);
        while cursor.is_adding() {
            let _ = cursor.take(board);
        }
        cursor
    }

    fn batches() -> Batches {
        Batches::new(|slot, seen| Some(slot.message(seen)))
    }

    fn publish(board: &Board, pair: &str, sequence: u64) {
        board.publish(&Arc::new(quote(pair, sequence)), Clock.now());
    }

    #[test]
    fn who_is_owed_the_same_shares_its_bytes() {
        for wanted in [&[">"][..], &["BTC_*", "ETH_USD"], &["BTC_USD", "ETH_USD"]] {
            let (board, mut batches) = (Board::new(), batches());
            publish(&board, "BTC_USD", 1);
            let [mut first, mut second, mut behind] = [(); 3].map(|()| cursor(&board, wanted));
            assert!(batches.take(&mut first, &board).is_none());
            publish(&board, "BTC_USD", 2);
            for cursor in [&mut first, &mut second] {
                batches.take(cursor, &board);
            }
            publish(&board, "BTC_USD", 3);
            publish(&board, "ETH_USD", 1);
            let [one, other] = [&mut first, &mut second].map(|cursor| batches.take(cursor, &board).unwrap().clone());
            assert_eq!((one.quotes, one.conflated), (2, 0));
            assert_eq!(one.bytes.as_ptr(), other.bytes.as_ptr());
            let late = batches.take(&mut behind, &board).unwrap();
            assert_eq!((late.quotes, late.conflated, &late.bytes), (2, 1, &one.bytes));
            for cursor in [&mut first, &mut second, &mut behind] {
                assert!(batches.take(cursor, &board).is_none());
            }
        }
    }

    #[test]
    fn newcomers_share_their_snapshot() {
        let (board, mut batches) = (Board::new(), batches());
        publish(&board, "BTC_USD", 1);
        let [one, other] = [(); 2].map(|()| {
            let mut newcomer = Cursor::of(&board, &[PairPattern::ALL]);
            batches.take(&mut newcomer, &board).unwrap().clone()
        });
        assert_eq!((one.kind, one.bytes.as_ptr()), (Kind::Snapshot { is_last: true }, other.bytes.as_ptr()));
    }

    #[test]
    fn what_ages_is_told_to_everybody_once() {
        let (board, mut batches) = (Board::new(), batches());
        let quote = Arc::new(quote("BTC_USD", 1));
        let [mut prompt, mut late] = [(); 2].map(|()| cursor(&board, &[">"]));
        board.publish(&quote, Clock.now());
        let told = |batch: Option<&Batch>| String::from_utf8_lossy(&batch.unwrap().bytes).into_owned();
        assert!(told(batches.take(&mut prompt, &board)).contains(r#""status":"fresh""#));
        let stale_at = quote.confirmed_at + quote.limits.stale_after + Duration::from_secs(1);
        board.review(stale_at);
        let of_late = told(batches.take(&mut late, &board));
        assert!(of_late.contains(r#""type":"quote""#) && of_late.contains(r#""status":"stale""#), "{of_late}");
        let of_prompt = told(batches.take(&mut prompt, &board));
        assert!(of_prompt.contains(r#"{"type":"status","pair":"BTC_USD","status":"stale""#), "{of_prompt}");
        board.review(stale_at);
        assert!(batches.take(&mut prompt, &board).is_none());
        // Vouched for again, it is fresh again.
        let confirmed = Quote { confirmed_at: stale_at, ..Quote::clone(&quote) };
        board.publish(&Arc::new(confirmed), stale_at);
        board.review(stale_at);
        assert!(
            told(batches.take(&mut late, &board)).contains(r#"{"type":"status","pair":"BTC_USD","status":"fresh""#)
        );
    }

    /// What a client of the property does.
    #[derive(Debug, Clone)]
    enum Step {
        Publish(&'static str),
        Take(usize),
        Subscribe(usize, &'static str),
        Unsubscribe(usize, &'static str),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pair = prop::sample::select(vec!["BTC_USD", "ETH_USD", "BTC_EUR"]);
        let pattern = prop::sample::select(vec!["BTC_USD", "BTC_*", "*_USD", ">"]);
        prop_oneof![
            3 => pair.prop_map(Step::Publish),
            4 => (0..4_usize).prop_map(Step::Take),
            2 => (0..4_usize, pattern.clone()).prop_map(|(client, pattern)| Step::Subscribe(client, pattern)),
            1 => (0..4_usize, pattern).prop_map(|(client, pattern)| Step::Unsubscribe(client, pattern)),
        ]
    }

    proptest! {
        /// Shared or not, a client is sent what it would be sent if it were alone.
        #[test]
        fn sharing_changes_nothing(steps in prop::collection::vec(step(), 0..60)) {
            let (board, mut shared) = (Board::new(), batches());
            let mut sequence = 0;
            let mut clients: [(Cursor, Cursor); 4] = std::array::from_fn(|_| {
                let cursor = Cursor::of(&board, &[]);
                (cursor.clone(), cursor)
            });
            for step in steps {
                match step {
                    Step::Publish(pair) => {
                        sequence += 1;
                        publish(&board, pair, sequence);
                    }
                    Step::Take(index) => {
                        let (client, alone) = &mut clients[index];
                        let taken = |batch: &Batch| (batch.bytes.clone(), batch.conflated, batch.kind);
                        prop_assert_eq!(shared.take(client, &board).map(taken),
                            batches().take(alone, &board).map(taken));
                        prop_assert_eq!(client.position(), alone.position());
                    }
                    Step::Subscribe(index, _) | Step::Unsubscribe(index, _) if clients[index].0.is_adding() => {}
                    Step::Subscribe(index, text) => {
                        let pattern: PairPattern = text.parse().unwrap_or(PairPattern::ALL);
                        for cursor in [&mut clients[index].0, &mut clients[index].1] {
                            assert!(cursor.subscribe(&board, &[pattern]).is_ok());
                        }
                    }
                    Step::Unsubscribe(index, text) => {
                        let pattern: PairPattern = text.parse().unwrap_or(PairPattern::ALL);
                        for cursor in [&mut clients[index].0, &mut clients[index].1] {
                            cursor.unsubscribe(&board, &[pattern]);
                        }
                    }
                }
            }
        }
    }
}
