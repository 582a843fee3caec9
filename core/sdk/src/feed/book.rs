use std::collections::HashMap;

use ratebus_model::{Arrival, Fold, FoldLimits, Market, Pair, PairList, PairState, Rate, Refusal, Subject, Tick};

use crate::Context;

/// The rates of one source: folds its ticks, publishes what is good, counts what is refused, and tells the bus which
/// pairs there are and how their subscriptions stand.
///
/// Rates go out as `rates.<source>.<PAIR>`, again with each heartbeat, so that consumers can tell a quiet market from a
/// dead feed; the pairs go out as `pairs.<source>`.
pub struct RateBook {
    ctx: Context,
    /// In the config's order.
    order: Vec<Pair>,
    pairs: HashMap<Pair, Entry>,
    pairs_subject: Subject,
}

struct Entry {
    fold: Fold,
    subject: Subject,
    state: PairState,
}

impl RateBook {
    /// A book of `pairs`, all pending, published at once.
    pub fn new(ctx: Context, pairs: &[Pair], limits: FoldLimits) -> Self {
        let source = ctx.name();
        let entry = |&pair: &Pair| {
            let fold = Fold::new(source, pair, ctx.epoch(), limits);
            (pair, Entry { fold, subject: Subject::rate(source, pair), state: PairState::Pending })
        };
        let entries = pairs.iter().map(entry).collect();
        let book = Self { order: pairs.to_vec(), pairs: entries, pairs_subject: Subject::pairs(source), ctx };
        book.publish_pairs();
        book
    }

    /// Takes a tick. A refused one is counted and logged; unknown pairs are counted.
    pub fn tick(&mut self, tick: &Tick<'_>, arrival: Arrival) {
        let source = self.ctx.name().to_string();
        let Some(entry) = self.pairs.get_mut(&tick.pair) else {
            metrics::counter!("ratebus_ticks_refused_total", "source" => source, "reason" => "unknown_pair")
                .increment(1);
            return;
        };
        match entry.fold.apply(tick, arrival) {
            Ok(rate) => {
                metrics::counter!("ratebus_ticks_total", "source" => source).increment(1);
                publish(&self.ctx, &entry.subject, rate);
            }
            Err(refusal) => {
                metrics::counter!("ratebus_ticks_refused_total", "source" => source, "reason" => refusal.as_str())
                    .increment(1);
                log_refusal(tick, refusal);
            }
        }
    }

    /// A heartbeat: every subscribed pair that the feed still vouches for is as fresh as now.
    pub fn heartbeat(&mut self, arrival: Arrival) {
        for entry in self.pairs.values_mut().filter(|entry| entry.state == PairState::Subscribed) {
            if let Some(rate) = entry.fold.confirm(arrival.at) {
                publish(&self.ctx, &entry.subject, rate);
            }
        }
    }

    /// The exchange changed the state of its market.
    pub fn market(&mut self, market: Market) {
        for entry in self.pairs.values_mut() {
            if let Some(rate) = entry.fold.set_market(market) {
                publish(&self.ctx, &entry.subject, rate);
            }
        }
    }

    /// A pair's subscription changed. Without an acknowledged one, heartbeats do not keep its rate fresh.
    pub fn set_state(&mut self, pair: Pair, state: PairState) {
        let Some(entry) = self.pairs.get_mut(&pair) else { return };
        if entry.state == state {
            return;
        }
        if state != PairState::Subscribed {
            entry.fold.doubt();
        }
        entry.state = state;
        self.publish_pairs();
    }

    /// The connection is gone: nothing is subscribed, and every rate ages until it is confirmed again. Pairs the
    /// exchange refused for good stay refused.
    pub fn disconnected(&mut self) {
        for entry in self.pairs.values_mut() {
            entry.fold.doubt();
            if entry.state == PairState::Subscribed {
                entry.state = PairState::Pending;
            }
        }
        self.publish_pairs();
    }

    /// How a pair's subscription stands.
    pub fn state(&self, pair: Pair) -> Option<&PairState> {
        self.pairs.get(&pair).map(|entry| &entry.state)
    }

    /// The last good rate of a pair.
    pub fn rate(&self, pair: Pair) -> Option<&Rate> {
        self.pairs.get(&pair)?.fold.rate()
    }

    fn publish_pairs(&self) {
        let states = self.order.iter().filter_map(|&pair| Some((pair, self.pairs.get(&pair)?.state.clone())));
        let list = PairList { source: self.ctx.name(), pairs: states.collect() };
        if let Err(error) = self.ctx.try_publish(&self.pairs_subject, list) {
            tracing::debug!(%error, "pair list not published");
        }
    }
}

fn publish(ctx: &Context, subject: &Subject, rate: &Rate) {
    if let Err(error) = ctx.try_publish(subject, rate.clone()) {
        tracing::debug!(%subject, %error, "rate not delivered to everybody");
    }
}

/// One line per refused tick is too much at a feed's pace: the counter has the number, the debug log the detail.
fn log_refusal(tick: &Tick<'_>, refusal: Refusal) {
    tracing::debug!(pair = %tick.pair, bid = tick.bid, ask = tick.ask, reason = refusal.as_str(), "tick refused: {refusal}");
}
