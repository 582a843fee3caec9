use ratebus_model::{Arrival, FoldLimits, Limits, Pair, PairState, Tick, decimal::Decimal};
use ratebus_sdk::{Context, feed::RateBook};

use super::said::{Said, Spoken};

/// More pairs than any exchange has: a library that names more loses them.
const MOST_PAIRS: usize = 4096;

/// The rates of a library, judged as those of any other source.
pub(super) struct Feed {
    book: RateBook,
    pairs: usize,
}

impl Feed {
    pub(super) fn new(ctx: Context) -> Self {
        Self { book: RateBook::new(ctx, &[], FoldLimits::new(Limits::STREAM)), pairs: 0 }
    }

    pub(super) fn apply(&mut self, said: Said, arrival: Arrival) {
        match said {
            Said::Tick(spoken) => {
                self.hold_to(spoken.pair, FoldLimits::new(spoken.limits));
                // A price shows that the pair is subscribed.
                self.book.set_state(spoken.pair, PairState::Subscribed);
                spoken.with_tick(|tick| self.book.tick(tick, arrival));
            }
            Said::Rate(spoken) => {
                // Jumps were held back, or not, where it was judged.
                self.hold_to(spoken.pair, FoldLimits { max_jump_percent: None, ..FoldLimits::new(spoken.limits) });
                self.book.pair_market(spoken.pair, spoken.market);
                spoken.with_tick(|tick| self.book.relay(tick, arrival, spoken.age));
            }
            Said::Heartbeat => self.book.heartbeat(arrival),
            Said::Pair(pair, state) => {
                if self.book.state(pair).is_none() {
                    self.hold_to(pair, FoldLimits::new(Limits::STREAM));
                }
                self.book.set_state(pair, state);
            }
            Said::Market(market) => self.book.market(market),
            Said::Disconnected => self.book.disconnected(),
            Said::AllPairs => self.book.take_back_others(),
        }
    }

    /// Holds a pair to `limits`, unless it is one too many: then the book does not know it, and counts its prices so.
    fn hold_to(&mut self, pair: Pair, limits: FoldLimits) {
        let is_new = self.book.state(pair).is_none();
        if is_new && self.pairs == MOST_PAIRS {
            return;
        }
        self.pairs += usize::from(is_new);
        self.book.hold_to(pair, limits);
    }
}

impl Spoken {
    /// As a tick, whose prices are texts. Without any price it is a full picture of nothing: that nothing is said must not
    /// be taken for "as it was".
    fn with_tick(&self, use_it: impl FnOnce(&Tick<'_>)) {
        let text = |price: Option<Decimal>| price.map(|price| price.to_string());
        let (bid, ask, reference) = (text(self.bid), text(self.ask), text(self.reference));
        use_it(&Tick {
            pair: self.pair,
            bid: bid.as_deref(),
            ask: ask.as_deref(),
            reference: reference.as_deref(),
            event_time: self.event_time,
            snapshot: self.snapshot || (bid.is_none() && ask.is_none() && reference.is_none()),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratebus_model::Market;
    use ratebus_sdk::{Clock, testkit::RecordingHost};

    use super::*;

    #[test]
    fn a_tick_without_a_price_confirms_nothing() {
        let mut feed = Feed::new(RecordingHost::new().context("test"));
        let pair: Pair = "BTC_USD".parse().unwrap();
        let says = |bid: Option<&str>, ask: Option<&str>| {
            let price = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            Said::Tick(Spoken {
                pair,
                bid: price(bid),
                ask: price(ask),
                reference: None,
                event_time: None,
                snapshot: false,
                age: Duration::ZERO,
                limits: Limits::STREAM,
                market: Market::Online,
            })
        };
        let mut later = Clock.arrival();
        let mut confirmed_after = |said: Said| {
            later.at += Duration::from_secs(1);
            feed.apply(said, later);
            feed.book.rate(pair).unwrap().confirmed_at == later.at
        };
        assert!(confirmed_after(says(Some("1"), Some("2"))));
        assert!(confirmed_after(says(Some("1.1"), None)));
        assert!(!confirmed_after(says(None, None)));
        assert!(!confirmed_after(Said::Heartbeat));
        assert!(confirmed_after(says(Some("1"), Some("2"))));
    }
}
