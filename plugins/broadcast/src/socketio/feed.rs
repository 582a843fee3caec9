use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use bytes::Bytes;
use ratebus_sdk::ProblemDocument;
use serde::Deserialize;

use crate::{
    batches::{Batch, Batches, SHARED},
    board::Board,
    cursor::{Cursor, Kind, TooManyPatterns},
    frame,
    request::{Selection, Subscribed},
    wanted::PairPattern,
};

/// What `rates:live` carries after the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rates {
    /// The map of everything that the client wants.
    #[default]
    Map,
    /// Pair by pair, what has changed.
    Changes,
}

/// What a client asks for with its handshake: `?rates=changes&pairs=BTC_USD,ETH_USD`.
#[derive(Default)]
pub(crate) struct Wish {
    rates: Option<Rates>,
    selection: Selection,
}

#[derive(Deserialize)]
struct RatesQuery {
    rates: Option<Rates>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wish {
    type Rejection = ProblemDocument;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemDocument> {
        let query = Query::<RatesQuery>::from_request_parts(parts, state).await;
        let Query(RatesQuery { rates }) =
            query.map_err(|error| ProblemDocument::new(error.status(), error.body_text()))?;
        Ok(Self { rates, selection: Selection::from_request_parts(parts, state).await? })
    }
}

impl Wish {
    pub(crate) fn max_rate(&self) -> u32 {
        self.selection.max_rate
    }
}

/// What clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    default: Rates,
    newest: Arc<Newest>,
    changes: Batches,
    maps: Maps,
}

impl Shared {
    /// For clients that do not say otherwise.
    pub(crate) fn new(default: Rates) -> Self {
        let changes = Batches::new(|slot, seen| (slot.live_stamp > seen).then(|| slot.frame.live_event()));
        Self { default, newest: Arc::default(), changes, maps: Maps::default() }
    }
}

/// The newest map of every pair, made by the first client that needs it.
#[derive(Default)]
struct Newest(Mutex<Option<Map>>);

#[derive(Clone)]
struct Map {
    /// Which change of the map this is.
    change: u64,
    /// Up to which stamp of the board it has everything.
    stamp: u64,
    event: Bytes,
    /// When that change was put on the board.
    since: Option<Instant>,
}

impl Newest {
    /// This change, or a later one.
    fn get(&self, change: u64, board: &Board) -> Map {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*map {
            Some(map) if map.change >= change => map.clone(),
            _ => {
                let (text, stamp) = board.live_map();
                let event = frame::live_event(&text).into_frames();
                let since = board.read().slots().map(|slot| slot.since).max();
                map.insert(Map { change, stamp, event, since }).clone()
            }
        }
    }
}

/// The newest maps of some pairs. Clients of one loop that want the same share them.
#[derive(Clone, Default)]
struct Maps {
    /// The board's stamp that these belong to.
    stamp: u64,
    /// By what is wanted: the event, and where a client is that has been sent it.
    shared: HashMap<u64, (Bytes, Cursor)>,
}

impl Maps {
    /// The event with everything that the cursor is for, which is taken with it.
    fn take(&mut self, cursor: &mut Cursor, board: &Board) -> Bytes {
        let stamp = board.stamp();
        if self.stamp != stamp {
            self.stamp = stamp;
            self.shared.clear();
        }
        let wanted = cursor.wanted().id();
        if let Some((event, after)) = self.shared.get(&wanted) {
            cursor.follow(after);
            return event.clone();
        }
        let slots = cursor.restart(board);
        let event = frame::live_event(&frame::live_map(slots.iter().map(|slot| &slot.frame))).into_frames();
        if self.shared.len() < SHARED {
            self.shared.insert(wanted, (event.clone(), cursor.clone()));
        }
        event
    }
}

/// What a client wants, and how far it has been served.
pub(crate) enum Feed {
    /// The map of every pair, which is the same for all, and which change of it was sent last.
    Whole(Option<u64>),
    /// Anything else. Where it `begins`, a map of what is wanted comes first.
    Own { rates: Rates, cursor: Cursor, begins: bool },
}

impl Feed {
    /// As the client wishes, with what it asked for and nobody serves.
    pub(crate) fn new(wish: &Wish, shared: &Shared, board: &Board) -> (Self, Vec<String>) {
        let rates = wish.rates.unwrap_or(shared.default);
        if wish.selection.is_everything() {
            let own = || Self::Own { rates, cursor: all_after(0, board), begins: true };
            return (if rates == Rates::Map { Self::Whole(None) } else { own() }, Vec::new());
        }
        let (known, unknown) = wish.selection.known(board);
        (Self::Own { rates, cursor: Cursor::of(board, &known), begins: true }, unknown)
    }

    /// Whether a map that the client has not asked for by waiting comes next.
    pub(crate) fn begins(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Own { begins: true, .. })
    }

    /// Adds pairs; a map with them comes next.
    pub(crate) fn subscribe(&mut self, board: &Board, added: &[PairPattern]) -> Result<(), TooManyPatterns> {
        if let Self::Own { cursor, begins, .. } = self {
            *begins |= cursor.subscribe(board, added)?;
        }
        Ok(())
    }

    /// Removes pairs.
    pub(crate) fn unsubscribe(&mut self, board: &Board, removed: &[PairPattern]) {
        if let Self::Whole(_) = self {
            *self = Self::Own { rates: Rates::Map, cursor: all_after(0, board), begins: true };
        }
        if let Self::Own { cursor, .. } = self {
            cursor.unsubscribe(board, removed);
        }
    }

    /// What is wanted now.
    pub(crate) fn subscribed(&self, board: &Board) -> Subscribed {
        match self {
            Self::Whole(_) => Subscribed::new(&board.sets().of(vec![PairPattern::ALL]), board),
            Self::Own { cursor, .. } => Subscribed::new(cursor.wanted(), board),
        }
    }

    /// What the client has not been sent yet, as one write.
    pub(crate) fn next(&mut self, shared: &mut Shared, board: &Board) -> Option<Batch> {
        match self {
            Self::Whole(sent) => {
                let newest = board.live_change();
                if *sent == Some(newest) {
                    return None;
                }
                let map = shared.newest.get(newest, board);
                let conflated = sent.map_or(0, |sent| map.change.saturating_sub(sent + 1));
                *sent = Some(map.change);
                let (kind, has_more) = (Kind::Changes, false);
                Some(Batch { bytes: map.event, quotes: 1, conflated, kind, has_more, since: map.since })
            }
            Self::Own { cursor, begins, .. } if *begins => {
                *begins = false;
                let bytes = if cursor.wanted().is_all() {
                    let map = shared.newest.get(board.live_change(), board);
                    *cursor = all_after(map.stamp, board);
                    map.event
                } else {
                    shared.maps.take(cursor, board)
                };
                let (kind, has_more) = (Kind::Snapshot { is_last: true }, false);
                Some(Batch { bytes, quotes: 1, conflated: 0, kind, has_more, since: None })
            }
            Self::Own { rates: Rates::Changes, cursor, .. } => shared.changes.take(cursor, board).cloned(),
            Self::Own { rates: Rates::Map, cursor, .. } => {
                let mut batch = shared.changes.take(cursor, board)?.clone();
                while let Some(Batch { conflated, .. }) = shared.changes.take(cursor, board) {
                    batch.conflated += conflated;
                }
                Some(Batch { bytes: shared.maps.take(cursor, board), quotes: 1, has_more: false, ..batch })
            }
        }
    }
}

/// Every pair, of which everything up to `stamp` is known.
fn all_after(stamp: u64, board: &Board) -> Cursor {
    Cursor::after(board, &[PairPattern::ALL], stamp)
}

#[cfg(test)]
mod tests {
    use ratebus_sdk::Clock;

    use super::*;
    use crate::quotes::{dead, quote};

    fn text(batch: Option<Batch>) -> String {
        String::from_utf8_lossy(&batch.map(|batch| batch.bytes).unwrap_or_default()).into_owned()
    }

    #[test]
    fn who_wants_the_same_pairs_shares_the_map_of_them() {
        let (board, mut shared) = (Board::new(), Shared::new(Rates::Map));
        let publish = |quote| board.publish(&Arc::new(quote), Clock.now());
        for pair in ["BTC_USD", "ETH_USD", "SOL_USD"] {
            publish(quote(pair, 1));
        }
        let patterns: Vec<PairPattern> = ["BTC_USD", "ETH_USD"].iter().filter_map(|text| text.parse().ok()).collect();
        let mut feeds = [(); 2].map(|()| {
            let cursor = Cursor::of(&board, &patterns);
            Feed::Own { rates: Rates::Map, cursor, begins: true }
        });
        for change in [None, Some(quote("BTC_USD", 2)), Some(dead("ETH_USD", 2))] {
            change.into_iter().for_each(publish);
            let [one, other] = feeds.each_mut().map(|feed| feed.next(&mut shared, &board).unwrap());
            assert_eq!(one.bytes.as_ptr(), other.bytes.as_ptr());
            let event = text(Some(one));
            assert!(event.contains("BTC_USD") && !event.contains("SOL_USD"), "{event}");
            for feed in &mut feeds {
                assert_eq!(text(feed.next(&mut shared, &board)), "");
            }
        }
        publish(quote("SOL_USD", 2));
        assert_eq!(feeds.each_mut().map(|feed| text(feed.next(&mut shared, &board))), ["", ""]);
    }
}
