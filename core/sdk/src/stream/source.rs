use std::{future::pending, time::Duration};

use async_trait::async_trait;
use ratebus_model::{FoldLimits, Market, Pair, PairState};
use tokio::time::sleep;

use super::{Exchange, Liveness, StreamConfig, connection::Endpoint, meter::Meter, pace::Pace, session::Session};
use crate::{
    ConfigError, Context, Env, Error, Factory, HealthState, LogLimit, Source,
    feed::{self, Decode, RateBook},
    tls,
};

/// The source that follows an [`Exchange`].
pub struct Stream<E> {
    exchange: E,
    endpoint: Endpoint,
    symbols: Vec<(Pair, String)>,
    limits: FoldLimits,
    stall_after: Duration,
    audit_after: Duration,
}

impl<E: Exchange> Factory for Stream<E> {
    type Config = StreamConfig<E>;

    const TYPE: &'static str = E::TYPE;

    fn build(config: Self::Config, _env: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        let url = error.take(config.endpoint(E::ENDPOINT));
        let limits = error.take(config.limits());
        let tls = error.take(tls::client_config(config.ca_file.as_deref()));
        let StreamConfig { pairs, symbols: named, stall_after, audit_after, protocol: exchange, .. } = config;
        error.take(exchange.check());
        let rules = exchange.rules();
        if rules.liveness == Liveness::Answers && rules.keepalive_every.is_some_and(|every| every >= stall_after) {
            error.add("protocol.keepalive_every", "must be shorter than stall_after");
        }
        if pairs.len() > rules.most_symbols {
            error.add("pairs", format!("a connection may carry {} at most", rules.most_symbols));
        }
        let symbols = error.take(feed::symbols(&pairs, &named, |pair| exchange.symbol(pair)));
        let (Some(url), Some(limits), Some(tls), Some(symbols)) = (url, limits, tls, symbols) else {
            return Err(error);
        };
        error.or(Self { exchange, endpoint: Endpoint { url, tls }, symbols, limits, stall_after, audit_after })
    }
}

#[async_trait]
impl<E: Exchange> Source for Stream<E> {
    /// Never fails: whatever happens to a connection, another one is made.
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        let Self { exchange, endpoint, symbols, limits, stall_after, audit_after } = *self;
        let pairs: Vec<Pair> = symbols.iter().map(|&(pair, _)| pair).collect();
        let mut feed = Feed {
            book: RateBook::new(ctx.clone(), &pairs, limits),
            decoder: exchange.decoder(symbols.iter().map(|(pair, symbol)| (symbol.clone(), *pair)).collect()),
            meter: Meter::new(ctx.name()),
            market: Market::default(),
            refusal: None,
            complaints: LogLimit::default(),
            exchange,
            symbols,
            stall_after,
            audit_after,
            ctx,
        };
        // Boxed, because the handshake's buffers make it a large one.
        stop.run_until_cancelled(Box::pin(feed.stay_connected(&endpoint))).await;
        Ok(())
    }
}

/// What outlives a connection: the rates with their sequences, the counters, and the health.
pub(crate) struct Feed<E> {
    pub(crate) ctx: Context,
    pub(crate) exchange: E,
    pub(crate) book: RateBook,
    pub(crate) decoder: Box<dyn Decode>,
    pub(crate) meter: Meter,
    pub(crate) stall_after: Duration,
    pub(crate) audit_after: Duration,
    symbols: Vec<(Pair, String)>,
    pub(crate) market: Market,
    /// Why the exchange would not have a subscription on this connection, when it was not for good.
    pub(crate) refusal: Option<String>,
    /// Of frames that cannot be read, and of being told to send less.
    pub(crate) complaints: LogLimit,
}

impl<E: Exchange> Feed<E> {
    /// How many missing pairs are named in the health before the rest is a number.
    const NAMED: usize = 5;

    async fn stay_connected(&mut self, endpoint: &Endpoint) {
        let shown = endpoint.shown();
        tracing::info!(endpoint = shown, "connecting to {shown}");
        let clock = self.ctx.clock();
        let mut pace = Pace::new(clock.now());
        loop {
            if self.wanted().is_empty() {
                // Every pair was refused for good, which the health says; an exchange drops who asks for nothing.
                return pending().await;
            }
            let (state, wait) = match endpoint.connect().await {
                Ok(connection) => {
                    self.meter.connect("ok");
                    self.decoder.connected();
                    let (ending, healthy) = Session::new(self, connection).run().await;
                    self.meter.reconnect(ending.as_str());
                    let reason = format!("the connection to {shown} ended: {ending}; connecting again");
                    let worked = self.pairs_live() > 0;
                    self.book.disconnected();
                    self.refusal = None;
                    let state = if worked { HealthState::Degraded(reason) } else { HealthState::NotReady(reason) };
                    (state, pace.ended(healthy, self.market == Market::Maintenance, clock.now()))
                }
                Err(error) => {
                    self.meter.connect(error.kind().as_str());
                    let reason = format!("connecting to {shown}: {error}; it keeps trying");
                    (HealthState::NotReady(reason), pace.failed(error.retry(), clock.now()))
                }
            };
            self.say(state, wait);
            sleep(wait).await;
        }
    }

    /// One line in the log for each attempt: a change of health has its own, what goes on as before gets one here.
    fn say(&self, state: HealthState, wait: Duration) {
        let health = self.ctx.health();
        if health.state() == state {
            tracing::warn!(plugin = health.name(), next_attempt_in = ?wait, "{}", state.reason().unwrap_or_default());
        } else {
            health.set(state);
        }
    }

    /// What a new connection has to ask for: everything but what was refused for good.
    pub(crate) fn wanted(&self) -> Vec<(Pair, String)> {
        let wanted = |(pair, _): &&(Pair, String)| !matches!(self.book.state(*pair), Some(PairState::Refused(_)));
        self.symbols.iter().filter(wanted).cloned().collect()
    }

    pub(crate) fn market(&mut self, market: Market) {
        if self.market != market {
            tracing::warn!(from = ?self.market, to = ?market, "the exchange's market changed its state");
        }
        self.market = market;
        self.book.market(market);
    }

    /// Keeps the health true. Until the pairs have had their time to arrive, missing ones are not named: that would be
    /// a line in the log for each arrival.
    pub(crate) fn report(&self, settled: bool) {
        let health = self.ctx.health();
        let missing: Vec<Pair> =
            self.symbols.iter().map(|&(pair, _)| pair).filter(|&pair| !self.is_live(pair)).collect();
        let waiting = missing.iter().any(|&pair| !matches!(self.book.state(pair), Some(PairState::Refused(_))));
        if missing.is_empty() {
            health.ready();
        } else if settled || !waiting {
            let reason = self.name_missing(&missing);
            if missing.len() < self.symbols.len() { health.degraded(reason) } else { health.not_ready(reason) }
        } else if missing.len() < self.symbols.len() && !health.state().is_ready() {
            health.degraded("waiting for the first rates of some pairs");
        }
    }

    fn pairs_live(&self) -> usize {
        self.symbols.iter().filter(|&&(pair, _)| self.is_live(pair)).count()
    }

    fn is_live(&self, pair: Pair) -> bool {
        self.book.state(pair) == Some(&PairState::Subscribed) && self.book.rate(pair).is_some()
    }

    fn name_missing(&self, missing: &[Pair]) -> String {
        let named = missing.iter().take(Self::NAMED).map(|&pair| match self.book.state(pair) {
            Some(PairState::Refused(reason)) => format!("{pair} (refused: {reason})"),
            Some(PairState::Subscribed) => format!("{pair} (no price yet)"),
            _ => format!("{pair} (not acknowledged yet)"),
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let refusal = self.refusal.as_ref().map(|reason| format!("; refused for now: {reason}")).unwrap_or_default();
        match missing.len().checked_sub(Self::NAMED) {
            None | Some(0) => format!("without a rate: {named}{refusal}"),
            Some(more) => format!("without a rate: {named} and {more} more{refusal}"),
        }
    }
}
