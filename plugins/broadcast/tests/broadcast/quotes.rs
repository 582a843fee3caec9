//! Quotes as the `spread` plugin makes them.

use std::time::Duration;

use ratebus_model::{
    Customer, Epoch, Limits, Market, Pair, PairList, PairState, Price, Quote, RateKind, RuleRef, Sides, Status,
    Timestamp, Version, Withheld, decimal,
};
use ratebus_sdk::Clock;

pub(crate) const EPOCH: Epoch = Epoch::new(0x5f0c_1d2e_3b4a_5968);

pub(crate) fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

pub(crate) fn price(text: &str) -> Price {
    text.parse().unwrap()
}

/// A market of 100.00 to 101.00 with a spread of 1.00 on each side.
pub(crate) fn quote(of: &str, sequence: u64) -> Quote {
    let now = Clock.arrival();
    let original = Sides { buy: price("101.00"), sell: price("100.00") };
    let spread = Sides { buy: decimal::parse("1.00").unwrap(), sell: decimal::parse("-1.00").unwrap() };
    Quote {
        pair: pair(of),
        source: "kraken".parse().unwrap(),
        sources: ["kraken".parse().unwrap()].into(),
        kind: RateKind::TwoSided,
        bid: original.sell,
        ask: original.buy,
        original,
        customer: Ok(Customer { price: Sides { buy: price("102.00"), sell: price("99.00") }, spread }),
        rule: Some(RuleRef { scope: None, revision: 0 }),
        step: price("0.01"),
        market: Market::Online,
        published_status: Status::Fresh,
        event_time: Some(now.time),
        recv_time: now.time,
        published_time: now.time,
        confirmed_at: now.at,
        limits: Limits { stale_after: Duration::from_hours(1), dead_after: Duration::from_hours(2) },
        version: Version { epoch: EPOCH, sequence },
    }
}

/// The same market, and a spread that makes the customer pay `buy`.
pub(crate) fn respread(of: &str, sequence: u64, buy: &str) -> Quote {
    let mut quote = quote(of, sequence);
    let price = Sides { buy: price(buy), sell: price("99.00") };
    let spread = decimal::checked_sub(price.buy.value(), quote.original.buy.value()).unwrap();
    quote.customer = Ok(Customer { price, spread: Sides { buy: spread, sell: decimal::parse("-1.00").unwrap() } });
    quote
}

pub(crate) fn dead(of: &str, sequence: u64) -> Quote {
    Quote { published_status: Status::Dead, ..quote(of, sequence) }
}

pub(crate) fn withheld(of: &str, sequence: u64) -> Quote {
    Quote { customer: Err(Withheld::NoSpread), rule: None, ..quote(of, sequence) }
}

/// A quote of exactly known times.
pub(crate) fn at_known_times(of: &str, sequence: u64) -> Quote {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    Quote {
        event_time: Some(at("2026-09-19T18:57:46.849909Z")),
        recv_time: at("2026-09-19T18:57:46.901220Z"),
        published_time: at("2026-09-19T18:57:46.901377Z"),
        ..quote(of, sequence)
    }
}

pub(crate) fn pairs(of: &[&str]) -> PairList {
    let pairs = of.iter().map(|text| (pair(text), PairState::Subscribed)).collect();
    PairList { source: "kraken".parse().unwrap(), pairs }
}
