//! A pair that is made from others, whatever those are made from.

use ratebus_sdk::model::{
    Withheld,
    cross::{self, Leg},
};

use super::{Decided, MarketPrice, Step};

/// The price along `legs`, or why one of them or the whole has none that may be believed. `None` unless all have one.
pub(crate) fn decide(legs: &[Leg], prices: &[Decided], step: &mut Step) -> Decided {
    let known: Vec<&Result<MarketPrice, Withheld>> = prices.iter().map(Option::as_ref).collect::<Option<_>>()?;
    let believed: Result<Vec<&MarketPrice>, Withheld> =
        known.into_iter().map(|price| price.as_ref().map_err(|&doubt| doubt)).collect();
    Some(believed.and_then(|parts| {
        let sides: Vec<_> = legs.iter().zip(&parts).map(|(&leg, part)| (leg, part.sides)).collect();
        step.see(cross::scale(&sides, step.finest()));
        let price = cross::price(&sides, step.size()).ok_or(Withheld::OutOfRange)?;
        MarketPrice::made_of(&parts, price, cross::NAME).ok_or(Withheld::OutOfRange)
    }))
}
