//! One source at a time: the first that is fresh, and back only to one that has been good for a while.

use std::time::Instant;

use ratebus_sdk::model::{Status, Verdict, Withheld, median};

use super::{Feeds, MarketPrice, feeds::Feed};

impl Feeds {
    pub(super) fn first(&mut self, now: Instant) -> Option<Result<MarketPrice, Withheld>> {
        let best = self.best(now)?;
        let chosen = self.unless_too_far(best, now);
        if let Ok(chosen) = chosen {
            let feed = &mut self.all[chosen];
            self.current = Some(feed.price.source);
            if feed.verdict == Verdict::Spare {
                feed.verdict = Verdict::Used;
            }
        }
        for index in 0..self.all.len() {
            let feed = &self.all[index];
            if feed.verdict == Verdict::Spare && !self.is_seasoned(feed, now) {
                self.all[index].verdict = Verdict::Returning;
            }
        }
        Some(chosen.map(|chosen| self.all[chosen].price.clone()))
    }

    /// Fresh before stale before dead; an outlier, and one that is not back for long enough, only for want of others.
    /// Among equals the config's order decides; without one the source used now stays, so that prices do not flap between
    /// sources, else the freshest is taken.
    fn best(&self, now: Instant) -> Option<usize> {
        let rank = |feed: &Feed| {
            let is_current = self.current == Some(feed.price.source);
            let is_doubtful = !is_current && !self.is_seasoned(feed, now);
            let price = &feed.price;
            let is_outlier = feed.verdict == Verdict::Outlier;
            (price.status(now), is_outlier, is_doubtful, self.place(feed), !is_current, price.age(now), price.source)
        };
        (0..self.all.len()).min_by_key(|&index| rank(&self.all[index]))
    }

    /// `best`, unless it is too far from the price it would replace and that one still counts: then that one for as long as
    /// it is fresh, and none after.
    fn unless_too_far(&mut self, best: usize, now: Instant) -> Result<usize, Withheld> {
        let Some(bps) = self.rules.max_disagreement_bps else { return Ok(best) };
        let current = self.all.iter().position(|feed| Some(feed.price.source) == self.current);
        let Some(current) = current.filter(|&current| current != best) else { return Ok(best) };
        let before = &self.all[current];
        let counts = before.verdict != Verdict::Outlier && Self::still_counts(before, now);
        if !counts || !median::is_apart(self.all[best].price.sides, before.price.sides, bps) {
            return Ok(best);
        }
        let is_fresh = before.price.status(now) == Status::Fresh;
        self.all[best].verdict = Verdict::Disagreement;
        if is_fresh { Ok(current) } else { Err(Withheld::Disagreement) }
    }
}
