use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use metrics::Counter;
use ratebus_model::{
    Arrival, Fold, FoldLimits, Market, Pair, PairList, PairState, Pattern, Payload, Rate, Refusal, Subject, Tick,
};

use crate::{Context, LogLimit};

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
    accepted: Counter,
    /// By reason, each made when it is first needed.
    refused: BTreeMap<&'static str, Counter>,
}

struct Entry {
    fold: Fold,
    subject: Subject,
    state: PairState,
    warnings: LogLimit,
}

impl RateBook {
    /// A book of `pairs`, all pending, published at once. Other pairs that an earlier run served are gone from then on.
    pub fn new(ctx: Context, pairs: &[Pair], limits: FoldLimits) -> Self {
        let source = ctx.name();
        let mut book = Self {
            order: Vec::new(),
            pairs: HashMap::new(),
            pairs_subject: Subject::pairs(source),
            accepted: metrics::counter!("ratebus_ticks_total", "source" => source.to_string()),
            refused: BTreeMap::new(),
            ctx,
        };
        for &pair in pairs {
            book.add(pair, limits);
        }
        book.publish_pairs();
        if !pairs.is_empty() {
            book.take_back_others();
        }
        book
    }

    /// Pairs that an earlier run served, and that are not in the book, are gone from now on: the config may have changed.
    /// Of a book of no pairs they come one by one, and only the source knows when that was the last.
    pub fn take_back_others(&self) {
        let is_other = |subject: &Subject| subject.as_rate().is_none_or(|(_, pair)| !self.pairs.contains_key(&pair));
        for subject in self.ctx.own_subjects(&Pattern::rates()).into_iter().filter(is_other) {
            if let Err(error) = self.ctx.try_publish(&subject, Payload::Gone) {
                tracing::debug!(%subject, %error, "the end of a pair is not delivered to everybody");
            }
        }
    }

    fn add(&mut self, pair: Pair, limits: FoldLimits) {
        let source = self.ctx.name();
        let fold = Fold::new(source, pair, self.ctx.epoch(), limits);
        let subject = Subject::rate(source, pair);
        let entry = Entry { fold, subject, state: PairState::Pending, warnings: LogLimit::default() };
        if self.pairs.insert(pair, entry).is_none() {
            self.order.push(pair);
        }
    }

    /// Holds a pair to `limits` from its next tick on; one that is not in the book is added to it, pending.
    pub fn hold_to(&mut self, pair: Pair, limits: FoldLimits) {
        if let Some(entry) = self.pairs.get_mut(&pair) {
            return entry.fold.set_limits(limits);
        }
        self.add(pair, limits);
        self.publish_pairs();
    }

    /// Takes a tick. A refused one is counted and logged at a limited rate; unknown pairs are counted.
    pub fn tick(&mut self, tick: &Tick<'_>, arrival: Arrival) {
        self.fold(tick, arrival, |fold| fold.apply(tick, arrival));
    }

    /// As [`RateBook::tick`], for a tick that was passed on to us by somebody whose feed vouched for it `age` ago.
    pub fn relay(&mut self, tick: &Tick<'_>, arrival: Arrival, age: Duration) {
        self.fold(tick, arrival, |fold| fold.apply_aged(tick, arrival, age));
    }

    /// Somebody who passes rates on says that this pair's is dead.
    pub fn dead(&mut self, pair: Pair, now: Instant) {
        let Some(entry) = self.pairs.get_mut(&pair) else { return };
        let at = now.checked_sub(entry.fold.limits().freshness.dead_after + Duration::from_millis(1));
        if let Some(rate) = at.and_then(|at| entry.fold.lapse(at)) {
            publish(&self.ctx, &entry.subject, rate);
        }
    }

    fn fold(&mut self, tick: &Tick<'_>, arrival: Arrival, apply: impl FnOnce(&mut Fold) -> Result<&Rate, Refusal>) {
        let Some(entry) = self.pairs.get_mut(&tick.pair) else { return self.count_refused("unknown_pair") };
        match apply(&mut entry.fold) {
            Ok(rate) => {
                self.accepted.increment(1);
                publish(&self.ctx, &entry.subject, rate);
            }
            Err(refusal) => {
                entry.log_refusal(tick, refusal, arrival.at);
                self.count_refused(refusal.as_str());
            }
        }
    }

    /// A heartbeat: every subscribed pair that the feed still vouches for is as fresh as now.
    pub fn heartbeat(&mut self, arrival: Arrival) {
        for entry in self.pairs.values_mut() {
            entry.confirm(&self.ctx, arrival.at);
        }
    }

    /// As [`RateBook::heartbeat`], of one pair.
    pub fn alive(&mut self, pair: Pair, arrival: Arrival) {
        if let Some(entry) = self.pairs.get_mut(&pair) {
            entry.confirm(&self.ctx, arrival.at);
        }
    }

    /// The exchange changed the state of its market.
    pub fn market(&mut self, market: Market) {
        for entry in self.pairs.values_mut() {
            entry.set_market(&self.ctx, market);
        }
    }

    /// The exchange changed the state of the market of one pair.
    pub fn pair_market(&mut self, pair: Pair, market: Market) {
        if let Some(entry) = self.pairs.get_mut(&pair) {
            entry.set_market(&self.ctx, market);
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

    /// A pair's subscription is in question, though it stands for all we know: heartbeats do not keep its rate fresh
    /// until its next good tick.
    pub fn doubt(&mut self, pair: Pair) {
        if let Some(entry) = self.pairs.get_mut(&pair) {
            entry.fold.doubt();
        }
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

    fn count_refused(&mut self, reason: &'static str) {
        let source = self.ctx.name();
        let counter =
            || metrics::counter!("ratebus_ticks_refused_total", "source" => source.to_string(), "reason" => reason);
        self.refused.entry(reason).or_insert_with(counter).increment(1);
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

impl Entry {
    fn set_market(&mut self, ctx: &Context, market: Market) {
        if let Some(rate) = self.fold.set_market(market) {
            publish(ctx, &self.subject, rate);
        }
    }

    fn confirm(&mut self, ctx: &Context, now: Instant) {
        if self.state == PairState::Subscribed
            && let Some(rate) = self.fold.confirm(now)
        {
            publish(ctx, &self.subject, rate);
        }
    }

    /// One line per refused tick would be too much at a feed's pace: the counter has the number.
    fn log_refusal(&mut self, tick: &Tick<'_>, refusal: Refusal, now: Instant) {
        // An out-of-order tick is the network's doing and harms nobody.
        if refusal == Refusal::Older || !self.warnings.allows(now) {
            return;
        }
        // The texts are the exchange's: as long as it likes, so cut, and escaped.
        let cut = |text: Option<&str>| text.unwrap_or_default().chars().take(40).collect::<String>();
        let (bid, ask) = (cut(tick.bid.or(tick.reference)), cut(tick.ask));
        tracing::warn!(pair = %tick.pair, bid = ?bid, ask = ?ask, reason = refusal.as_str(), "tick refused: {refusal}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratebus_model::{Limits, Status};

    use super::*;
    use crate::testkit::RecordingHost;

    fn pair(text: &str) -> Pair {
        text.parse().unwrap()
    }

    fn tick<'t>(pair: &str, bid: &'t str, ask: &'t str) -> Tick<'t> {
        Tick {
            pair: pair.parse().unwrap(),
            bid: Some(bid),
            ask: Some(ask),
            reference: None,
            event_time: None,
            snapshot: false,
        }
    }

    fn book(host: &Arc<RecordingHost>) -> RateBook {
        let pairs = [pair("BTC_USD"), pair("ETH_USD")];
        RateBook::new(host.context("test"), &pairs, FoldLimits::new(Limits::STREAM))
    }

    fn arrival(after: Duration) -> Arrival {
        let Arrival { time, at } = crate::Clock.arrival();
        Arrival { time: time.plus(after), at: at + after }
    }

    /// The pair list last published: each pair and its state.
    fn states(host: &RecordingHost) -> Vec<(Pair, PairState)> {
        let messages = host.messages();
        let lists = messages.iter().rev().filter_map(|message| match &message.payload {
            Payload::Pairs(list) => Some(list.pairs.clone()),
            _ => None,
        });
        lists.take(1).flatten().collect()
    }

    #[test]
    fn a_good_tick_goes_out_and_a_refused_or_unknown_one_does_not() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        book.tick(&tick("BTC_USD", "100.10", "100.20"), arrival(Duration::ZERO));
        book.tick(&tick("BTC_USD", "100.30", "100.20"), arrival(Duration::ZERO));
        book.tick(&tick("SOL_USD", "1", "2"), arrival(Duration::ZERO));
        let rates = host.rates();
        assert_eq!(rates.len(), 1);
        assert_eq!(rates[0].value.bid().to_string(), "100.10");
        assert_eq!(book.rate(pair("BTC_USD")), Some(&*rates[0]));
    }

    #[test]
    fn a_pair_that_an_earlier_run_served_is_gone_with_the_next() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        for text in ["BTC_USD", "ETH_USD"] {
            book.tick(&tick(text, "1", "2"), arrival(Duration::ZERO));
        }
        // A book that fills as it goes knows of no end.
        RateBook::new(host.context("test"), &[], FoldLimits::new(Limits::STREAM));
        assert!(host.rate("test", pair("ETH_USD")).is_some());
        RateBook::new(host.context("test"), &[pair("BTC_USD")], FoldLimits::new(Limits::STREAM));
        assert!(host.rate("test", pair("BTC_USD")).is_some() && host.rate("test", pair("ETH_USD")).is_none());
    }

    #[test]
    fn heartbeats_keep_only_what_is_subscribed_and_vouched_for() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        let (btc, eth) = (pair("BTC_USD"), pair("ETH_USD"));
        book.set_state(btc, PairState::Subscribed);
        book.tick(&tick("BTC_USD", "1", "2"), arrival(Duration::ZERO));
        book.tick(&tick("ETH_USD", "1", "2"), arrival(Duration::ZERO));
        let later = arrival(Duration::from_secs(30));
        book.heartbeat(later);
        assert_eq!(book.rate(btc).unwrap().confirmed_at, later.at);
        assert!(book.rate(eth).unwrap().confirmed_at < later.at);
        let alone = arrival(Duration::from_secs(31));
        book.set_state(eth, PairState::Subscribed);
        book.alive(eth, alone);
        assert_eq!((book.rate(btc).unwrap().confirmed_at, book.rate(eth).unwrap().confirmed_at), (later.at, alone.at));
        // The feed says that the last price no longer holds: nothing vouches for it any more.
        book.tick(&tick("BTC_USD", "0", "2"), later);
        book.heartbeat(arrival(Duration::from_mins(1)));
        assert_eq!(book.rate(btc).unwrap().confirmed_at, later.at);
    }

    #[test]
    fn a_pair_in_doubt_is_vouched_for_again_by_its_next_tick() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        let (btc, eth) = (pair("BTC_USD"), pair("ETH_USD"));
        for (pair, text) in [(btc, "BTC_USD"), (eth, "ETH_USD")] {
            book.set_state(pair, PairState::Subscribed);
            book.tick(&tick(text, "1", "2"), arrival(Duration::ZERO));
        }
        let (before, lists) = (book.rate(btc).cloned(), states(&host));
        book.doubt(btc);
        let later = arrival(Duration::from_secs(1));
        book.heartbeat(later);
        assert_eq!(book.rate(btc), before.as_ref());
        assert_eq!(book.rate(eth).unwrap().confirmed_at, later.at);
        assert_eq!(states(&host), lists);
        book.tick(&tick("BTC_USD", "1", "2"), later);
        let later = arrival(Duration::from_secs(2));
        book.heartbeat(later);
        assert_eq!(book.rate(btc).unwrap().confirmed_at, later.at);
        assert_eq!(book.rate(btc).unwrap().version, before.unwrap().version);
    }

    #[test]
    fn a_lost_connection_leaves_rates_to_age_and_refusals_to_stand() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        let (btc, eth) = (pair("BTC_USD"), pair("ETH_USD"));
        book.set_state(btc, PairState::Subscribed);
        book.set_state(eth, PairState::Refused("unknown".to_owned()));
        book.tick(&tick("BTC_USD", "1", "2"), arrival(Duration::ZERO));
        let before = book.rate(btc).cloned();
        book.disconnected();
        book.heartbeat(arrival(Duration::from_secs(1)));
        assert_eq!(book.rate(btc), before.as_ref());
        let expected = [(btc, PairState::Pending), (eth, PairState::Refused("unknown".to_owned()))];
        assert_eq!(states(&host), expected);
    }

    #[test]
    fn a_relayed_rate_is_as_old_as_its_relay_says() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        let btc = pair("BTC_USD");
        let now = arrival(Duration::from_secs(100));
        let status = |book: &RateBook| book.rate(btc).unwrap().status(now.at);
        for (age, expected) in [(0, Status::Fresh), (11, Status::Stale), (1, Status::Fresh), (61, Status::Dead)] {
            book.relay(&tick("BTC_USD", "1", "2"), now, Duration::from_secs(age));
            assert_eq!(status(&book), expected, "{age} s");
        }
        book.relay(&tick("BTC_USD", "1", "2"), now, Duration::ZERO);
        book.dead(btc, now.at);
        assert_eq!(status(&book), Status::Dead);
        let published = host.rates().len();
        book.dead(btc, now.at);
        assert_eq!(host.rates().len(), published, "it is no deader than dead");
    }

    #[test]
    fn a_pair_is_added_by_what_it_is_held_to() {
        let host = RecordingHost::new();
        let mut book = RateBook::new(host.context("test"), &[], FoldLimits::new(Limits::STREAM));
        let (btc, eth) = (pair("BTC_USD"), pair("ETH_USD"));
        let short = Limits { stale_after: Duration::from_secs(1), dead_after: Duration::from_secs(2) };
        book.hold_to(btc, FoldLimits::new(short));
        book.hold_to(eth, FoldLimits::new(Limits::STREAM));
        assert_eq!(states(&host), [(btc, PairState::Pending), (eth, PairState::Pending)]);
        let now = arrival(Duration::from_secs(100));
        for text in ["BTC_USD", "ETH_USD"] {
            book.tick(&tick(text, "1", "2"), now);
        }
        let later = now.at + Duration::from_millis(1500);
        assert_eq!(book.rate(btc).unwrap().status(later), Status::Stale);
        assert_eq!(book.rate(eth).unwrap().status(later), Status::Fresh);
        // Held to more, it is as fresh as the next tick says.
        book.hold_to(btc, FoldLimits::new(Limits::STREAM));
        book.tick(&tick("BTC_USD", "1", "2"), now);
        assert_eq!(book.rate(btc).unwrap().status(later), Status::Fresh);
        book.pair_market(btc, Market::Maintenance);
        assert_eq!([btc, eth].map(|pair| book.rate(pair).unwrap().market), [Market::Maintenance, Market::Online]);
    }

    #[test]
    fn a_market_that_does_not_match_marks_every_rate() {
        let host = RecordingHost::new();
        let mut book = book(&host);
        book.tick(&tick("BTC_USD", "1", "2"), arrival(Duration::ZERO));
        book.market(Market::Maintenance);
        book.market(Market::Maintenance);
        assert_eq!(host.rates().iter().map(|rate| rate.version.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(host.rate("test", pair("BTC_USD")).unwrap().market, Market::Maintenance);
    }
}
