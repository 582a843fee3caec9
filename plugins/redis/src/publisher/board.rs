//! What is to be published, and when. No tasks and no clock of its own: every moment comes in as an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ratebus_model::{Limits, Status, Subject, Version};

use crate::document::Value;

/// How often a value goes out that is the same as before, while its feed vouches for it.
const REPEAT: Duration = Duration::from_secs(1);

/// The newest value of each subject, and what was last published of it.
#[derive(Default)]
pub(super) struct Board {
    slots: HashMap<Subject, Slot>,
}

struct Slot {
    value: Value,
    /// Nothing more is said of it: this is the last.
    ended: bool,
    sent: Option<Sent>,
}

/// A value that is to go out.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) value: Value,
    /// Its pair is served no more: it is told once, and kept nowhere.
    pub(super) ended: bool,
}

impl Due {
    pub(super) fn status(&self, now: Instant) -> Status {
        if self.ended { Status::Dead } else { self.value.status(now) }
    }
}

struct Sent {
    version: Version,
    status: Status,
    confirmed_at: Instant,
    limits: Limits,
    at: Instant,
}

impl Board {
    /// Takes the newest value of a subject.
    pub(super) fn hear(&mut self, subject: &Subject, value: Value) {
        match self.slots.get_mut(subject) {
            Some(slot) if !slot.ended => slot.value = value,
            _ => _ = self.slots.insert(subject.clone(), Slot { value, ended: false, sent: None }),
        }
    }

    /// There is nothing any more under a subject. What else there is of its pair goes out anew: the places may be the same.
    pub(super) fn end(&mut self, subject: &Subject) {
        let Some(slot) = self.slots.get_mut(subject).filter(|slot| !slot.ended) else { return };
        *slot = Slot { value: slot.value.ended(), ended: true, sent: None };
        let (pair, ..) = slot.value.labels();
        for other in self.slots.values_mut().filter(|slot| slot.value.labels().0 == pair) {
            other.sent = None;
        }
    }

    /// Forgets what has ended and has gone out.
    pub(super) fn forget_ended(&mut self) {
        self.slots.retain(|_, slot| !slot.ended || slot.sent.is_none());
    }

    /// Up to `most` values that are due at `now`, first those that have ended; they count as published from then on.
    pub(super) fn take_due(&mut self, now: Instant, most: usize) -> Vec<Due> {
        let is_due = |slot: &&mut Slot| slot.due_at().is_some_and(|due| due <= now);
        let (ended, others): (Vec<_>, Vec<_>) = self.slots.values_mut().filter(is_due).partition(|slot| slot.ended);
        ended.into_iter().chain(others).take(most).map(|slot| slot.take(now)).collect()
    }

    /// When something will be due next if nothing is heard before; in the past if something is due now.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.slots.values().filter_map(Slot::due_at).min()
    }

    /// Nothing counts as published: the server may have lost all of it.
    pub(super) fn forget_sent(&mut self) {
        for slot in self.slots.values_mut() {
            slot.sent = None;
        }
    }
}

impl Slot {
    /// When it is to go out, if nothing is heard before: a moment that has passed for at once.
    fn due_at(&self) -> Option<Instant> {
        let at_once = Some(self.value.confirmed_at());
        let Some(sent) = &self.sent else { return at_once };
        if self.ended {
            return None;
        }
        if sent.version != self.value.version() {
            return at_once;
        }
        let confirmed_at = self.value.confirmed_at();
        // The age of a price made of several is that of the oldest; the word of another may still let it count for longer.
        let again = if confirmed_at <= sent.confirmed_at && self.value.limits() == sent.limits {
            None
        } else if self.value.status(confirmed_at) < sent.status {
            at_once
        } else {
            Some(sent.at + REPEAT)
        };
        [again, self.declines_at(sent.status)].into_iter().flatten().min()
    }

    /// When it is worse than `status` if nobody vouches for it before.
    fn declines_at(&self, status: Status) -> Option<Instant> {
        let limits = self.value.limits();
        let after = match status {
            Status::Fresh => limits.stale_after,
            Status::Stale => limits.dead_after,
            Status::Dead => return None,
        };
        Some(self.value.confirmed_at() + after + Duration::from_millis(1))
    }

    fn take(&mut self, now: Instant) -> Due {
        let Self { value, ended, .. } = &*self;
        let due = Due { value: value.clone(), ended: *ended };
        let (version, confirmed_at, limits) = (value.version(), value.confirmed_at(), value.limits());
        self.sent = Some(Sent { version, status: value.status(now), confirmed_at, limits, at: now });
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratebus_model::{Fold, FoldLimits, Limits, Market, Pair, Rate, Tick};
    use ratebus_sdk::Clock;

    use super::*;

    /// A rate that the feed vouched for at `start`, and that moment.
    fn rate() -> (Rate, Instant) {
        let pair: Pair = "BTC_USD".parse().unwrap();
        let (source, epoch) = ("kraken".parse().unwrap(), "5f0c1d2e3b4a5968".parse().unwrap());
        let mut fold = Fold::new(source, pair, epoch, FoldLimits::new(Limits::STREAM));
        let tick = Tick { pair, bid: Some("1"), ask: Some("2"), reference: None, event_time: None, snapshot: false };
        let arrival = Clock.arrival();
        (fold.apply(&tick, arrival).unwrap().clone(), arrival.at)
    }

    fn hear(board: &mut Board, rate: &Rate) {
        board.hear(&Subject::rate(rate.source, rate.pair), Value::Rate(Arc::new(rate.clone())));
    }

    fn taken(board: &mut Board, now: Instant) -> usize {
        board.take_due(now, 10).len()
    }

    #[test]
    fn a_value_goes_out_once() {
        let (mut board, (mut rate, start)) = (Board::default(), rate());
        assert_eq!(board.due_at(), None);
        hear(&mut board, &rate);
        assert_eq!((taken(&mut board, start), taken(&mut board, start)), (1, 0));
        rate.version = rate.version.next();
        hear(&mut board, &rate);
        assert_eq!((taken(&mut board, start), taken(&mut board, start)), (1, 0));
        board.forget_sent();
        assert_eq!(taken(&mut board, start), 1);
    }

    #[test]
    fn what_has_ended_goes_out_once_and_before_what_has_its_place() {
        let (mut board, (rate, start)) = (Board::default(), rate());
        let other = Rate { source: "other".parse().unwrap(), ..rate.clone() };
        for rate in [&rate, &other] {
            hear(&mut board, rate);
        }
        assert_eq!(taken(&mut board, start), 2);
        board.end(&Subject::rate(rate.source, rate.pair));
        let due = board.take_due(start, 10);
        assert_eq!(
            due.iter().map(|due| (due.ended, due.status(start))).collect::<Vec<_>>(),
            [(true, Status::Dead), (false, Status::Fresh)]
        );
        // The connection was lost with it: it goes out again.
        board.forget_sent();
        assert!(board.take_due(start, 1)[0].ended);
        board.forget_ended();
        board.forget_sent();
        assert_eq!(taken(&mut board, start), 1);
        board.end(&Subject::rate(rate.source, rate.pair));
        hear(&mut board, &rate);
        assert!(board.take_due(start, 10).iter().all(|due| !due.ended));
    }

    #[test]
    fn what_the_feed_vouches_for_goes_out_once_a_second() {
        let (mut board, (mut rate, start)) = (Board::default(), rate());
        hear(&mut board, &rate);
        let mut out = 0;
        for millis in (0..10_000).step_by(100) {
            let now = start + Duration::from_millis(millis);
            rate.confirmed_at = now;
            hear(&mut board, &rate);
            out += taken(&mut board, now);
        }
        assert_eq!(out, 10);
    }

    #[test]
    fn what_counts_for_longer_goes_out_though_it_is_no_younger() {
        let (mut board, (mut rate, start)) = (Board::default(), rate());
        hear(&mut board, &rate);
        assert_eq!(taken(&mut board, start), 1);
        rate.limits.stale_after += Duration::from_millis(500);
        hear(&mut board, &rate);
        assert_eq!(board.due_at(), Some(start + REPEAT));
        assert_eq!((taken(&mut board, start + REPEAT), taken(&mut board, start + REPEAT * 2)), (1, 0));
    }

    #[test]
    fn changes_of_the_status_go_out_when_they_happen() {
        let (mut board, (mut rate, start)) = (Board::default(), rate());
        hear(&mut board, &rate);
        assert_eq!(taken(&mut board, start), 1);
        for (seconds, status) in [(10, Status::Stale), (60, Status::Dead)] {
            let limit = start + Duration::from_secs(seconds);
            let due = limit + Duration::from_millis(1);
            assert_eq!(board.due_at(), Some(due));
            assert_eq!(taken(&mut board, limit), 0);
            assert_eq!(board.take_due(due, 1)[0].status(due), status);
        }
        let now = start + Duration::from_mins(2);
        assert_eq!(taken(&mut board, now), 0);
        rate.confirmed_at = now;
        hear(&mut board, &rate);
        assert_eq!(board.take_due(now, 1)[0].status(now), Status::Fresh);
    }

    #[test]
    fn a_market_that_does_not_match_makes_no_hurry() {
        let (mut board, (mut rate, start)) = (Board::default(), rate());
        rate.market = Market::Maintenance;
        hear(&mut board, &rate);
        assert_eq!(taken(&mut board, start), 1);
        rate.confirmed_at = start + Duration::from_millis(500);
        hear(&mut board, &rate);
        assert_eq!(board.due_at(), Some(start + REPEAT));
    }

    #[test]
    fn more_than_asked_for_waits_for_its_turn() {
        let (mut board, (rate, start)) = (Board::default(), rate());
        for pair in ["BTC_USD", "ETH_USD", "SOL_USD"] {
            hear(&mut board, &Rate { pair: pair.parse().unwrap(), ..rate.clone() });
        }
        assert_eq!([(); 3].map(|()| board.take_due(start, 2).len()), [2, 1, 0]);
    }
}
