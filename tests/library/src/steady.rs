use std::time::Duration;

use async_trait::async_trait;
use ratebus_sdk::{
    ConfigError, Context, Env, Error, Factory, Source,
    feed::RateBook,
    model::{FoldLimits, Limits, Pair, PairState, Payload, Price, Rate, Subject, Tick},
};
use serde::Deserialize;

/// A source of a price that never changes; and of faults, if it is asked for them.
pub struct Steady {
    config: SteadyConfig,
    pairs: Vec<Pair>,
}

/// Its config.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteadyConfig {
    /// Without it those that have a table in the config.
    pairs: Option<Vec<Pair>>,
    /// The bid; the ask is a cent above.
    price: Price,
    #[serde(default)]
    misbehave: Misbehave,
    /// Instead of anything else: this many rates, each published when the one before has been taken; then it finishes.
    #[serde(default)]
    burst: u64,
}

/// What it does that no source should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Misbehave {
    #[default]
    No,
    /// Panics while it is built.
    PanicInBuild,
    /// Panics while it runs.
    Panic,
    /// Never returns from its future.
    Block,
    /// Fails for good.
    Fail,
    /// Speaks for another source.
    Impersonate,
}

impl Factory for Steady {
    type Config = SteadyConfig;
    const TYPE: &'static str = "source/steady";

    fn build(config: SteadyConfig, env: &Env) -> Result<Self, ConfigError> {
        assert!(config.misbehave != Misbehave::PanicInBuild, "not built");
        let pairs = config.pairs.clone().unwrap_or_else(|| env.pairs().keys().copied().collect());
        if pairs.is_empty() {
            return Err(ConfigError::new("pairs", "at least one pair is needed"));
        }
        Ok(Self { config, pairs })
    }
}

#[async_trait]
impl Source for Steady {
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let Self { config, pairs } = *self;
        let mut book = RateBook::new(ctx.clone(), &pairs, FoldLimits::new(Limits::STREAM));
        let (bid, ask) = (config.price.to_string(), above(config.price).to_string());
        for &pair in &pairs {
            book.set_state(pair, PairState::Subscribed);
            let tick =
                Tick { pair, bid: Some(&bid), ask: Some(&ask), reference: None, event_time: None, snapshot: true };
            book.tick(&tick, ctx.clock().arrival());
        }
        if config.burst > 0 {
            return burst(&ctx, book.rate(pairs[0]), config.burst).await;
        }
        ctx.health().ready();
        tracing::info!(pairs = pairs.len(), "steady goes on");
        misbehave(config.misbehave, &ctx, &book, pairs[0]).await?;
        let mut pulse = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                () = ctx.cancelled() => return Ok(()),
                _ = pulse.tick() => book.heartbeat(ctx.clock().arrival()),
            }
        }
    }
}

fn above(price: Price) -> Price {
    let cent = Price::unit(2).value();
    price.value().checked_add(cent).and_then(Price::new).unwrap_or(price)
}

/// Publishes rates that differ from each other, each when there is room for it.
async fn burst(ctx: &Context, rate: Option<&Rate>, number: u64) -> Result<(), Error> {
    let Some(rate) = rate else { return Ok(()) };
    let subject = Subject::rate(rate.source, rate.pair);
    let mut next = rate.clone();
    for _ in 0..number {
        next.version = next.version.next();
        // The bus takes them all: nobody blocks there.
        let _ = ctx.publish(&subject, next.clone()).await;
    }
    Ok(())
}

#[expect(clippy::panic, reason = "it misbehaves")]
async fn misbehave(how: Misbehave, ctx: &Context, book: &RateBook, pair: Pair) -> Result<(), Error> {
    match how {
        Misbehave::No | Misbehave::PanicInBuild => {}
        Misbehave::Panic => panic!("by request"),
        Misbehave::Block => loop {
            std::thread::sleep(Duration::from_mins(1));
        },
        Misbehave::Fail => return Err(Error::new(ratebus_sdk::ErrorKind::Config, "it cannot work")),
        Misbehave::Impersonate => {
            if let (Some(rate), Ok(source)) = (book.rate(pair), "another".parse()) {
                let rate = Rate { source, ..rate.clone() };
                let _ = ctx.publish(&Subject::rate(source, pair), Payload::from(rate)).await;
            }
        }
    }
    Ok(())
}
