//! One source at a time: the first that is fresh, and back only to one that has been good for a while.

use std::time::Instant;

use ratebus_sdk::model::{Verdict, Withheld, median};

use super::{Decided, Feeds, feeds::Feed};

impl Feeds {
    pub(super) fn first(&mut self, now: Instant) -> Decided {
        self.find_too_far(now);
        let best = self.best(now)?;
        let verdict = self.all[best].verdict;
        if verdict == Verdict::Spare {
            self.all[best].verdict = Verdict::Used;
        }
        for index in 0..self.all.len() {
            let feed = &self.all[index];
            if feed.verdict == Verdict::Spare && !self.is_seasoned(feed, now) {
                self.all[index].verdict = Verdict::Returning;
            }
        }
        if verdict == Verdict::Disagreement {
            return Some(Err(Withheld::Disagreement));
        }
        let price = self.all[best].price.clone();
        self.current = Some(price.source);
        Some(Ok(price))
    }

    /// Finds those that are too far from the price they would replace, while that one counts.
    fn find_too_far(&mut self, now: Instant) {
        let Some(bps) = self.rules.max_disagreement_bps else { return };
        let current = self.all.iter().find(|feed| self.current == Some(feed.price.source));
        let counts = |feed: &&Feed| feed.verdict != Verdict::Outlier && Self::still_counts(feed, now);
        let Some(shown) = current.filter(counts).map(|feed| feed.price.sides) else { return };
        for feed in self.all.iter_mut().filter(|feed| feed.verdict == Verdict::Spare) {
            if median::is_apart(feed.price.sides, shown, bps) {
                feed.verdict = Verdict::Disagreement;
            }
        }
    }

    /// Fresh before stale before dead; an outlier, one that is too far from the price shown, and one that is not back for
    /// long enough, only for want of others. Among equals the config's order decides; without one the source used now
    /// stays, so that prices do not flap between sources, else the freshest is taken.
    fn best(&self, now: Instant) -> Option<usize> {
        let rank = |feed: &Feed| {
            let is_current = self.current == Some(feed.price.source);
            let (price, is) = (&feed.price, |verdict| feed.verdict == verdict);
            let is_doubtful = !is_current && !self.is_seasoned(feed, now);
            let doubts = (is(Verdict::Outlier), is(Verdict::Disagreement), is_doubtful);
            (price.status(now), doubts, self.place(feed), !is_current, price.age(now), price.source)
        };
        (0..self.all.len()).min_by_key(|&index| rank(&self.all[index]))
    }
}
