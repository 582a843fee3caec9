//! A source that asks an exchange over HTTP, again and again.
//!
//! As it stands it speaks the toy protocol of `tests/exchange`: `GET /prices?symbols=BTC-USD,ETH-USD` is answered with
//! `{"prices":[{"symbol":"BTC-USD","bid":"81413.20","ask":"81413.30"}]}`, without those that are not known.
//!
//! An exchange of your own is other texts in [`Exchange`] and another `Document`. When to ask, what to do when that fails,
//! and how old a rate is, are the SDK's business: see [`ratebus_sdk::poll`].

use std::borrow::Cow;

use async_trait::async_trait;
use ratebus_sdk::{
    ConfigError, Error,
    feed::json::unquoted,
    model::{Pair, Tick},
    poll::{Exchange, Feed, NoKeys},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The exchange: `Poll<ExampleHttpExchange>` is the source.
#[derive(Debug, Default)]
pub struct ExampleHttpExchange;

#[async_trait]
impl Exchange for ExampleHttpExchange {
    /// What `use` names in the config.
    const TYPE: &'static str = "source/example-http";

    /// Its public address, `Some("https://…")`. The toy is wherever the config says.
    const ENDPOINT: Option<&'static str> = None;

    /// The keys of `config.protocol`, if your exchange leaves something to choose.
    type Protocol = NoKeys;

    fn new(NoKeys {}: NoKeys) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    /// Its name of a pair.
    fn symbol(&self, pair: Pair) -> String {
        format!("{}-{}", pair.base(), pair.quote())
    }

    /// An error is for what failed as a whole: the round is made again, ever later. What is no price (zero, crossed, no
    /// number) need not be found here.
    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let symbols = feed.symbols().to_vec();
        let names: Vec<&str> = symbols.iter().map(|(_, symbol)| symbol.as_str()).collect();
        let answer = feed.get(&format!("/prices?symbols={}", names.join(","))).await?;
        let Document { prices } = answer.json()?;
        for &(pair, ref symbol) in &symbols {
            match prices.iter().find(|price| price.symbol == *symbol) {
                Some(price) => {
                    let (bid, ask) = (Some(unquoted(price.bid)), Some(unquoted(price.ask)));
                    let tick = Tick { pair, bid, ask, reference: None, event_time: None, snapshot: false };
                    feed.tick(&tick, &answer);
                }
                None => feed.refuse(pair, "unknown symbol"),
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Document<'b> {
    #[serde(borrow)]
    prices: Vec<Price<'b>>,
}

/// A price is a `RawValue`, which keeps its digits as they came, in quotes or not; in an `f64` or a `Value` they would be
/// lost. Keys that are not named here are skipped.
#[derive(Deserialize)]
struct Price<'b> {
    #[serde(borrow)]
    symbol: Cow<'b, str>,
    #[serde(borrow)]
    bid: &'b RawValue,
    #[serde(borrow)]
    ask: &'b RawValue,
}
