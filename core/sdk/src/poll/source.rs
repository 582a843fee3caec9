use std::{mem, time::Duration};

use async_trait::async_trait;
use ratebus_model::{FoldLimits, Pair};
use tokio::time::sleep;

use super::{Client, ClientLimits, Exchange, Feed, PollConfig, pace::Pace};
use crate::{ConfigError, Context, Env, Error, ErrorKind, Factory, Retry, Source, feed, tls};

/// The source that asks an [`Exchange`].
pub struct Poll<E> {
    pub(super) exchange: E,
    pub(super) endpoint: String,
    pub(super) client: Client,
    pub(super) interval: Duration,
    pub(super) symbols: Vec<(Pair, String)>,
    pub(super) limits: FoldLimits,
}

impl<E: Exchange> Factory for Poll<E> {
    type Config = PollConfig<E::Protocol>;

    const TYPE: &'static str = E::TYPE;

    fn build(mut config: Self::Config, _: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        let endpoint = error.take(config.endpoint(E::ENDPOINT));
        let tls = error.take(tls::client_config(config.ca_file.as_deref()));
        let Some(exchange) = error.take(E::new(mem::take(&mut config.protocol))) else {
            error.take(feed::pairs(&config.pairs));
            return Err(error);
        };
        let rules = exchange.rules();
        let times = error.take(config.times(&rules));
        let symbols = error.take(feed::symbols(&config.pairs, &config.symbols, |pair| exchange.symbol(pair)));
        let (Some(endpoint), Some(tls), Some((interval, limits)), Some(symbols)) = (endpoint, tls, times, symbols)
        else {
            return Err(error);
        };
        let client_limits = ClientLimits { timeout: config.timeout, largest: rules.largest, budget: rules.budget };
        let client = Client::new(&tls, exchange.headers(), client_limits);
        error.or(Self { exchange, endpoint, client, interval, symbols, limits })
    }
}

#[async_trait]
impl<E: Exchange> Source for Poll<E> {
    /// Fails only with what a round says can never get better.
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        match stop.run_until_cancelled(Box::pin(self.rounds(ctx))).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl<E: Exchange> Poll<E> {
    /// How often the health is looked at between rounds: rates get old meanwhile.
    const LOOK: Duration = Duration::from_secs(5);

    async fn rounds(self, ctx: Context) -> Error {
        let Self { mut exchange, endpoint, client, interval, symbols, limits } = self;
        tracing::info!(endpoint, every = ?interval, "asking {endpoint}");
        let (clock, mut pace) = (ctx.clock(), Pace::new(interval));
        let mut feed = Feed::new(ctx, endpoint, client, symbols, limits);
        loop {
            let started = clock.now();
            let outcome = exchange.round(&mut feed).await;
            feed.connected(outcome.is_ok());
            let (mut wait, failure) = match outcome {
                Ok(()) => (pace.good(clock.now().saturating_duration_since(started)), None),
                Err(error) if error.retry() == Retry::Never => return error,
                Err(error) => {
                    let wait = pace.failed(error.retry(), error.kind() == ErrorKind::RateLimited);
                    (wait, Some(feed.failed(&error, wait)))
                }
            };
            loop {
                feed.report(failure.as_deref());
                let nap = wait.min(Self::LOOK);
                sleep(nap).await;
                wait -= nap;
                if wait.is_zero() {
                    break;
                }
            }
        }
    }
}
