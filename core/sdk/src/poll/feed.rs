use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge};
use ratebus_model::{FoldLimits, Market, Pair, PairState, Status, Tick, Timestamp};

use super::{Answer, Client};
use crate::{Context, Error, HealthState, LogLimit, feed::RateBook};

/// What an [`Exchange`](super::Exchange) asks with and tells what it heard. Outlives every round.
pub struct Feed {
    ctx: Context,
    endpoint: String,
    client: Client,
    book: RateBook,
    symbols: Vec<(Pair, String)>,
    /// For each pair whose prices are dated the last time, and the moment here that it stands for.
    heard: HashMap<Pair, (Timestamp, Instant)>,
    market: Market,
    complaints: LogLimit,
    outcomes: BTreeMap<&'static str, Counter>,
    connected: Gauge,
}

impl Feed {
    /// How many missing pairs are named in the health before the rest is a number.
    const NAMED: usize = 5;

    pub(super) fn new(
        ctx: Context,
        endpoint: String,
        client: Client,
        symbols: Vec<(Pair, String)>,
        limits: FoldLimits,
    ) -> Self {
        let pairs: Vec<Pair> = symbols.iter().map(|&(pair, _)| pair).collect();
        let connected = metrics::gauge!("ratebus_feed_connected", "source" => ctx.name().to_string());
        connected.set(0);
        Self {
            book: RateBook::new(ctx.clone(), &pairs, limits),
            endpoint,
            client,
            symbols,
            heard: HashMap::new(),
            market: Market::default(),
            complaints: LogLimit::default(),
            outcomes: BTreeMap::new(),
            connected,
            ctx,
        }
    }

    /// Asks for `target` (a path, with its query) at the exchange's address: see [`Client::get`]. Each answer and failure is
    /// counted.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub async fn get(&mut self, target: &str) -> Result<Answer, Error> {
        let asked = self.client.get(&format!("{}{target}", self.endpoint)).await;
        self.count(match &asked {
            Ok(answer) if answer.status().is_success() => "ok",
            Ok(_) => "refused",
            Err(error) => error.kind().as_str(),
        });
        asked
    }

    /// The source's context.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// The pairs and the exchange's names for them, in the config's order.
    pub fn symbols(&self) -> &[(Pair, String)] {
        &self.symbols
    }

    /// A price that was true when `answer` was asked for.
    pub fn tick(&mut self, tick: &Tick<'_>, answer: &Answer) {
        self.relay(tick, answer, answer.took());
    }

    /// A price that is as old as its own time says: at `server_time`, by the exchange's clock, `answer` was made. The same
    /// time again, whatever that clock says by then, makes it no younger than it was. Without a time it is refused.
    pub fn dated(&mut self, tick: &Tick<'_>, answer: &Answer, server_time: Timestamp) {
        let Some(time) = tick.event_time else { return self.refuse(tick.pair, "the price has no time") };
        let arrival = answer.arrival();
        let age = time.age_at(server_time).saturating_add(answer.took());
        // Nothing here is older than this machine's clock.
        let Some(at) = arrival.at.checked_sub(age) else { return self.refuse(tick.pair, "the price is too old") };
        let known = self.heard.get(&tick.pair).filter(|(known, _)| *known == time);
        let at = known.map_or(at, |&(_, first)| first.min(at));
        self.heard.insert(tick.pair, (time, at));
        self.relay(tick, answer, arrival.at.saturating_duration_since(at));
    }

    /// A price that was vouched for `age` before `answer` arrived.
    fn relay(&mut self, tick: &Tick<'_>, answer: &Answer, age: Duration) {
        self.book.set_state(tick.pair, PairState::Subscribed);
        self.book.relay(tick, answer.arrival(), age);
        // A round may take long; what it has brought already is served.
        if self.symbols.len() > 1 && !self.ctx.health().state().is_ready() && self.is_fresh(tick.pair) {
            self.ctx.health().degraded("waiting for the rates of the other pairs");
        }
    }

    /// The exchange has no price for a pair, in words. Others go on; the next price of this one ends it.
    pub fn refuse(&mut self, pair: Pair, reason: impl Into<String>) {
        let state = PairState::Refused(reason.into());
        if self.book.state(pair) != Some(&state) {
            tracing::error!(%pair, ?state, "the exchange has no price of {pair}");
            self.book.set_state(pair, state);
        }
    }

    /// The exchange changed the state of its market.
    pub fn market(&mut self, market: Market) {
        if self.market != market {
            tracing::warn!(from = ?self.market, to = ?market, "the exchange's market changed its state");
        }
        self.market = market;
        self.book.market(market);
    }

    /// Part of an answer cannot be used: counted, and logged at a limited rate.
    pub fn complain(&mut self, what: &str) {
        self.count("unusable");
        if self.complaints.allows(self.ctx.clock().now()) {
            tracing::warn!(plugin = %self.ctx.name(), "{what}; more are only counted");
        }
    }

    /// A round failed: the words for the health. That one changes has a line in the log of its own; what goes on as before
    /// gets one here.
    pub(super) fn failed(&self, error: &Error, wait: Duration) -> String {
        let reason = format!("asking {}: {error}; it keeps trying", self.endpoint);
        if self.ctx.health().state().reason() == Some(&reason) {
            tracing::warn!(plugin = %self.ctx.name(), kind = error.kind().as_str(), next_attempt_in = ?wait, "{reason}");
        }
        reason
    }

    /// Keeps the health true, after a round that failed with `failure` if it did.
    pub(super) fn report(&self, failure: Option<&str>) {
        let missing: Vec<Pair> =
            self.symbols.iter().map(|&(pair, _)| pair).filter(|&pair| !self.is_fresh(pair)).collect();
        let reason = match failure {
            Some(failure) => failure.to_owned(),
            None if missing.is_empty() => return self.ctx.health().ready(),
            None => self.name_missing(&missing),
        };
        let worked = missing.len() < self.symbols.len();
        self.ctx.health().set(if worked { HealthState::Degraded(reason) } else { HealthState::NotReady(reason) });
    }

    /// Whether the last round went well.
    pub(super) fn connected(&self, connected: bool) {
        self.connected.set(u32::from(connected));
    }

    fn is_fresh(&self, pair: Pair) -> bool {
        let now = self.ctx.clock().now();
        self.book.rate(pair).is_some_and(|rate| rate.status(now) == Status::Fresh)
    }

    fn name_missing(&self, missing: &[Pair]) -> String {
        let named = missing.iter().take(Self::NAMED).map(|&pair| match self.book.state(pair) {
            Some(PairState::Refused(reason)) => format!("{pair} ({reason})"),
            _ if self.market.best_status() != Status::Fresh => format!("{pair} (its market is {})", said(self.market)),
            _ if self.book.rate(pair).is_some() => format!("{pair} (no longer fresh)"),
            _ => format!("{pair} (no price yet)"),
        });
        let named = named.collect::<Vec<_>>().join(", ");
        match missing.len().checked_sub(Self::NAMED) {
            None | Some(0) => format!("without a fresh rate: {named}"),
            Some(more) => format!("without a fresh rate: {named} and {more} more"),
        }
    }

    fn count(&mut self, outcome: &'static str) {
        let source = self.ctx.name();
        let counter =
            || metrics::counter!("ratebus_feed_polls_total", "source" => source.to_string(), "outcome" => outcome);
        self.outcomes.entry(outcome).or_insert_with(counter).increment(1);
    }
}

/// The state of a market in words.
fn said(market: Market) -> &'static str {
    match market {
        Market::Online => "online",
        Market::NotMatching => "not matching",
        Market::Maintenance => "in maintenance",
        Market::Unknown => "in an unknown state",
    }
}

impl Drop for Feed {
    /// Also when the source is told to stop.
    fn drop(&mut self) {
        self.connected.set(0);
    }
}
