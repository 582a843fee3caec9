//! Kraken's public REST API: slower than its WebSocket and independent of it, so a second opinion and a way out.

mod again;
mod document;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use ratebus_model::{Market, Pair, Tick};
use ratebus_sdk::{
    ConfigError, Error, ErrorKind, feed,
    poll::{Exchange, Feed, NoKeys},
};

use self::{
    again::Again,
    document::{Raw, Said, Status, listed, read, tickers},
};
use crate::{decode::market, maintenance::Announcements};

/// Kraken's REST API, `use = "source/kraken-rest"`.
#[derive(Default)]
pub struct KrakenRest {
    /// The keys that Kraken answers with, and the pairs that it has listed under them.
    names: Vec<(String, Pair)>,
    /// When all of its pairs are looked at again, while some of ours are not among them.
    look: Again,
    /// The pairs that it listed and did not know when they were asked for.
    doubted: BTreeMap<Pair, Again>,
    /// What it said last of its market, and when.
    market: Option<(Market, Instant)>,
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
        let now = feed.context().clock().now();
        if self.names.len() < feed.symbols().len() && self.look.is_due(now) {
            self.learn(feed).await?;
            self.look.later(now);
        }
        self.ask_status(feed, now).await?;
        self.ask_prices(feed, now).await
    }
}

impl KrakenRest {
    /// How many pairs are asked for at once: the address must not become too long.
    const GROUP: usize = 100;
    /// How many pairs may turn out to be unknown in a round: each takes requests to find, and all others wait for them.
    const MOST_UNKNOWN: usize = 3;
    /// How long its last word of its market holds while it cannot be asked for another.
    const WORD_HOLDS: Duration = Duration::from_mins(1);

    /// Kraken's keys are not made by one rule (`XXBTZUSD`, `SOLUSD`), so it is asked for them. What it once listed is
    /// asked for until it is not known there.
    async fn learn(&mut self, feed: &mut Feed) -> Result<(), Error> {
        match Self::ask_names(feed).await {
            Ok(found) => {
                self.names.retain(|(_, pair)| !found.iter().any(|(_, known)| known == pair));
                self.names.extend(found);
                self.names.sort_unstable();
            }
            Err(error) if self.names.is_empty() || error.kind() == ErrorKind::RateLimited => return Err(error),
            Err(error) => feed.complain(&format!("what Kraken lists is not known: {error}")),
        }
        for (pair, _) in feed.symbols().to_vec() {
            if !self.names.iter().any(|&(_, known)| known == pair) {
                feed.refuse(pair, "Kraken does not list the pair");
            }
        }
        Ok(())
    }

    async fn ask_names(feed: &mut Feed) -> Result<Vec<(String, Pair)>, Error> {
        let answer = feed.get("/0/public/AssetPairs").await?;
        Ok(listed(read(&answer)?.result()?, feed.symbols())?)
    }

    /// That its status cannot be had costs nobody a price. When its last word is too old, prices are marked.
    async fn ask_status(&mut self, feed: &mut Feed, now: Instant) -> Result<(), Error> {
        match self.read_status(feed).await {
            Ok(market) => self.market = Some((market, now)),
            Err(error) if error.kind() == ErrorKind::RateLimited => return Err(error),
            Err(error) => feed.complain(&format!("the state of Kraken's market is not known: {error}")),
        }
        feed.market(self.market_at(now));
        Ok(())
    }

    async fn read_status(&mut self, feed: &mut Feed) -> Result<Market, Error> {
        let answer = feed.get("/0/public/SystemStatus").await?;
        let status: Status<'_> = feed::json::object(read(&answer)?.result()?.get())?;
        if let Some(announced) = status.upcoming_maintenance {
            self.announcements.note(announced.get());
        }
        Ok(market(&status.status))
    }

    fn market_at(&self, now: Instant) -> Market {
        let holds = |&(_, at): &(Market, Instant)| now.saturating_duration_since(at) <= Self::WORD_HOLDS;
        self.market.filter(holds).map_or(Market::Unknown, |(market, _)| market)
    }

    async fn ask_prices(&mut self, feed: &mut Feed, now: Instant) -> Result<(), Error> {
        let (mut doubted, known): (Vec<_>, Vec<_>) =
            self.names.iter().cloned().partition(|(_, pair)| self.doubted.contains_key(pair));
        doubted.retain(|(_, pair)| self.doubted[pair].is_due(now));
        doubted.truncate(Self::MOST_UNKNOWN);
        // The last ones go first: what is known.
        let mut groups: Vec<_> = doubted.chunks(1).chain(known.chunks(Self::GROUP)).collect();
        let mut unknown = 0;
        while let Some(group) = groups.pop() {
            if Self::tell(feed, group).await? {
                self.doubted.retain(|doubted, _| !group.iter().any(|(_, pair)| pair == doubted));
                continue;
            }
            // One pair that Kraken does not know fails the request for all: the halves tell which it is. More than a few
            // are left for the next round.
            match group {
                [(_, pair)] => {
                    unknown += 1;
                    self.doubt(feed, *pair, now);
                }
                _ if unknown >= Self::MOST_UNKNOWN => {}
                _ => groups.extend(<[_; 2]>::from(group.split_at(group.len() / 2))),
            }
        }
        Ok(())
    }

    /// Said once of a pair that it lists, it may be a mistake.
    fn doubt(&mut self, feed: &mut Feed, pair: Pair, now: Instant) {
        match self.doubted.entry(pair) {
            Entry::Vacant(first) => drop(first.insert(Again::default())),
            Entry::Occupied(mut again) => {
                again.get_mut().later(now);
                feed.refuse(pair, "Kraken does not know the pair");
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_the_market_holds_for_a_minute() {
        let at = Instant::now();
        let kraken = |market| KrakenRest { market, ..KrakenRest::default() };
        let after = |seconds| kraken(Some((Market::Online, at))).market_at(at + Duration::from_secs(seconds));
        assert_eq!([after(0), after(60), after(61)], [Market::Online, Market::Online, Market::Unknown]);
        assert_eq!(kraken(None).market_at(at), Market::Unknown);
    }
}
