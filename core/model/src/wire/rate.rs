use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Freshness;
use crate::{Arrival, Epoch, Invalid, Market, Pair, Price, Rate, RateValue, SourceName, Timestamp, Version};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireRate {
    source: SourceName,
    pair: Pair,
    #[serde(flatten)]
    value: WireValue,
    market: Market,
    event_time: Option<Timestamp>,
    received_time: Timestamp,
    #[serde(flatten)]
    freshness: Freshness,
    epoch: Epoch,
    sequence: u64,
}

/// `"kind": "two_sided", "bid": "…", "ask": "…"` or `"kind": "reference", "price": "…"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WireValue {
    TwoSided { bid: Price, ask: Price },
    Reference { price: Price },
}

impl WireRate {
    pub(super) fn new(rate: &Rate, now: Instant) -> Self {
        Self {
            source: rate.source,
            pair: rate.pair,
            value: match rate.value {
                RateValue::TwoSided { bid, ask } => WireValue::TwoSided { bid, ask },
                RateValue::Reference { price } => WireValue::Reference { price },
            },
            market: rate.market,
            event_time: rate.event_time,
            received_time: rate.recv_time,
            freshness: Freshness::new(rate.feed_age(now), rate.limits),
            epoch: rate.version.epoch,
            sequence: rate.version.sequence,
        }
    }

    pub(super) fn into_rate(self, arrival: Arrival, travelled: Duration) -> Result<Rate, Invalid> {
        let value = match self.value {
            WireValue::TwoSided { bid, ask } if bid > ask => {
                return Err(Invalid::new(&format!("{bid} > {ask}"), "a bid of at most the ask"));
            }
            WireValue::TwoSided { bid, ask } => RateValue::TwoSided { bid, ask },
            WireValue::Reference { price } => RateValue::Reference { price },
        };
        Ok(Rate {
            source: self.source,
            pair: self.pair,
            value,
            market: self.market,
            event_time: self.event_time,
            recv_time: self.received_time,
            confirmed_at: self.freshness.confirmed_at(arrival, travelled)?,
            limits: self.freshness.limits()?,
            version: Version { epoch: self.epoch, sequence: self.sequence },
        })
    }
}
