//! Kraken's public REST API: slower than its WebSocket and independent of it, so a second opinion and a way out.

mod document;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use ratebus_model::{Pair, Tick};
use ratebus_sdk::{
    ConfigError, Error, feed,
    poll::{Exchange, Feed, NoKeys},
};

use self::document::{Raw, Said, Status, listed, read, tickers};
use crate::{decode::market, maintenance::Announcements};

/// Kraken's REST API, `use = "source/kraken-rest"`.
#[derive(Default)]
pub struct KrakenRest {
    /// The pairs that Kraken has, and the keys it answers with.
    names: Vec<(String, Pair)>,
    learned_at: Option<Instant>,
    announcements: Announcements,
}

#[async_trait]
impl Exchange for KrakenRest {
    const TYPE: &'static str = "source/kraken-rest";
    const ENDPOINT: Option<&'static str> = Some("https://api.kraken.com");
    type Protocol = NoKeys;

    fn new(NoKeys {}: NoKeys) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let (now, missing) = (feed.context().clock().now(), self.names.len() < feed.symbols().len());
        if self.learned_at.is_none_or(|at| missing && now.saturating_duration_since(at) >= Self::LEARN_AGAIN) {
            self.names = Self::learn(feed).await?;
            self.learned_at = Some(now);
        }
        self.status(feed).await?;
        let names = self.names.clone();
        let mut groups: Vec<_> = names.chunks(Self::GROUP).collect();
        while let Some(group) = groups.pop() {
            if Self::tell(feed, group).await? {
                continue;
            }
            // One pair that Kraken does not know any more fails the request for all: the halves tell which it is.
            match group {
                [(_, pair)] => {
                    feed.refuse(*pair, "Kraken does not know the pair");
                    self.names.retain(|(_, known)| known != pair);
                }
                _ => groups.extend(<[_; 2]>::from(group.split_at(group.len() / 2))),
            }
        }
        Ok(())
    }
}

impl KrakenRest {
    /// How many pairs are asked for at once: the address must not become too long.
    const GROUP: usize = 100;
    /// How long after a look at all of Kraken's pairs the next one is, while some of ours are not among them.
    const LEARN_AGAIN: Duration = Duration::from_hours(1);

    /// Kraken's keys are not made by one rule (`XXBTZUSD`, `SOLUSD`), so it is asked for them.
    async fn learn(feed: &mut Feed) -> Result<Vec<(String, Pair)>, Error> {
        let answer = feed.get("/0/public/AssetPairs").await?;
        let symbols = feed.symbols().to_vec();
        let names = listed(read(&answer)?.result()?, &symbols)?;
        for &(pair, _) in symbols.iter().filter(|(pair, _)| !names.iter().any(|(_, known)| known == pair)) {
            feed.refuse(pair, "Kraken does not list the pair");
        }
        Ok(names)
    }

    async fn status(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let answer = feed.get("/0/public/SystemStatus").await?;
        let status: Status<'_> = feed::json::object(read(&answer)?.result()?.get())?;
        if let Some(announced) = status.upcoming_maintenance {
            self.announcements.note(announced.get());
        }
        feed.market(market(&status.status));
        Ok(())
    }

    /// Asks for the pairs of `group` and tells their prices. `false`: Kraken does not know one of them.
    async fn tell(feed: &mut Feed, group: &[(String, Pair)]) -> Result<bool, Error> {
        let keys: Vec<&str> = group.iter().map(|(key, _)| key.as_str()).collect();
        let answer = feed.get(&format!("/0/public/Ticker?pair={}", keys.join(","))).await?;
        let result = match read(&answer)? {
            Said::Result(result) => result,
            Said::UnknownPair => return Ok(false),
        };
        let tickers = tickers(result)?;
        for (key, pair) in group {
            match tickers.get(key.as_str()).map(Raw::sides) {
                Some(Ok((bid, ask))) => {
                    let (bid, ask) = (Some(bid), Some(ask));
                    let tick = Tick { pair: *pair, bid, ask, reference: None, event_time: None, snapshot: false };
                    feed.tick(&tick, &answer);
                }
                Some(Err(_)) => feed.complain("a pair's ticker cannot be read"),
                None => feed.refuse(*pair, "Kraken's answer leaves the pair out"),
            }
        }
        Ok(true)
    }
}
