use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Freshness, WireSides};
use crate::{
    Arrival, Customer, Epoch, Invalid, Market, Pair, Price, Quote, RateKind, RuleRef, Sides, SourceName, Status,
    Timestamp, Version, Withheld,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireQuote {
    pair: Pair,
    source: SourceName,
    /// Absent in what an older version sends: then it is the one source.
    #[serde(default)]
    sources: Vec<SourceName>,
    kind: RateKind,
    bid: Price,
    ask: Price,
    /// What the spread was added to.
    original: WireSides<Price>,
    /// Their distance from the original prices is not sent: it could only contradict them.
    customer: Option<WireSides<Price>>,
    withheld: Option<Withheld>,
    rule: Option<RuleRef>,
    price_step: Price,
    market: Market,
    status: Status,
    event_time: Option<Timestamp>,
    received_time: Timestamp,
    published_time: Timestamp,
    #[serde(flatten)]
    freshness: Freshness,
    epoch: Epoch,
    sequence: u64,
}

impl WireQuote {
    pub(super) fn new(quote: &Quote, now: Instant) -> Self {
        let customer = quote.customer.as_ref();
        Self {
            pair: quote.pair,
            source: quote.source,
            sources: quote.sources.to_vec(),
            kind: quote.kind,
            bid: quote.bid,
            ask: quote.ask,
            original: quote.original.into(),
            customer: customer.ok().map(|customer| customer.price.into()),
            withheld: customer.err().copied(),
            rule: quote.rule,
            price_step: quote.step,
            market: quote.market,
            status: quote.published_status,
            event_time: quote.event_time,
            received_time: quote.recv_time,
            published_time: quote.published_time,
            freshness: Freshness::new(quote.feed_age(now), quote.limits),
            epoch: quote.version.epoch,
            sequence: quote.version.sequence,
        }
    }

    pub(super) fn into_quote(self, arrival: Arrival, travelled: Duration) -> Result<Quote, Invalid> {
        let customer = self.customer()?;
        Ok(Quote {
            customer,
            pair: self.pair,
            source: self.source,
            sources: if self.sources.is_empty() { [self.source].into() } else { self.sources.into() },
            kind: self.kind,
            bid: self.bid,
            ask: self.ask,
            original: self.original.into(),
            rule: self.rule,
            step: self.price_step,
            market: self.market,
            published_status: self.status,
            event_time: self.event_time,
            recv_time: self.received_time,
            published_time: self.published_time,
            confirmed_at: self.freshness.confirmed_at(arrival, travelled)?,
            limits: self.freshness.limits()?,
            version: Version { epoch: self.epoch, sequence: self.sequence },
        })
    }

    fn customer(&self) -> Result<Result<Customer, Withheld>, Invalid> {
        if self.bid > self.ask {
            return Err(Invalid::new(&format!("{} > {}", self.bid, self.ask), "a bid of at most the ask"));
        }
        let Some(WireSides { buy, sell }) = self.customer else {
            let missing = || Invalid::new("null", "a customer price, or why there is none (`withheld`)");
            return self.withheld.map(Err).ok_or_else(missing);
        };
        if sell > buy {
            return Err(Invalid::new(&format!("{sell} > {buy}"), "a customer's sell of at most the buy"));
        }
        let too_far = || Invalid::new(&buy.to_string(), "a price whose distance from the original one is a decimal");
        Customer::over(self.original.into(), Sides { buy, sell }).map(Ok).ok_or_else(too_far)
    }
}
