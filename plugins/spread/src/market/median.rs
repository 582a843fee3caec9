//! The median of those sources that are fresh, of one kind, no outliers, and not further apart than allowed.

use std::time::Instant;

use ratebus_sdk::model::{RateKind, Verdict, Withheld, median};

use super::{Feeds, MarketPrice};

impl Feeds {
    pub(super) fn median(&mut self, now: Instant) -> Result<MarketPrice, Withheld> {
        let (kind, used) = self.quorum(now).ok_or(Withheld::NoQuorum)?;
        let prices: Vec<_> = used.iter().map(|&index| self.all[index].price.sides).collect();
        let disagree = self.rules.max_disagreement_bps.is_some_and(|bps| median::any_apart(&prices, bps));
        for index in 0..self.all.len() {
            let feed = &self.all[index];
            let verdict = match feed.verdict {
                Verdict::Spare if used.contains(&index) && disagree => Verdict::Disagreement,
                Verdict::Spare if used.contains(&index) => Verdict::Used,
                Verdict::Spare if feed.price.kind != kind => Verdict::OtherKind,
                Verdict::Spare => Verdict::Returning,
                other => other,
            };
            self.all[index].verdict = verdict;
        }
        if disagree {
            return Err(Withheld::Disagreement);
        }
        let parts: Vec<_> = used.iter().map(|&index| &self.all[index].price).collect();
        let sides = median::of(&prices).ok_or(Withheld::OutOfRange)?;
        MarketPrice::made_of(&parts, sides, median::NAME).ok_or(Withheld::NoQuorum)
    }

    /// The good sources of one kind, if they are enough: two-sided prices before references, and both before those that
    /// need sources that are not back for long enough.
    fn quorum(&self, now: Instant) -> Option<(RateKind, Vec<usize>)> {
        let good = |kind: RateKind, returning: bool| {
            let is_used = |&index: &usize| {
                let feed = &self.all[index];
                let is_good = feed.verdict == Verdict::Spare && feed.price.kind == kind;
                is_good && (returning || self.is_seasoned(feed, now))
            };
            let mut used: Vec<usize> = (0..self.all.len()).filter(is_used).collect();
            used.sort_by_key(|&index| (self.place(&self.all[index]), self.all[index].price.source));
            (kind, used)
        };
        let kinds = [RateKind::TwoSided, RateKind::Reference];
        let mut choices = [false, true].into_iter().flat_map(|returning| kinds.map(|kind| good(kind, returning)));
        choices.find(|(_, used)| used.len() >= self.rules.quorum)
    }
}
