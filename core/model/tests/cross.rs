//! `cross` against the same rules written in fractions of unlimited size.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use ratebus_model::{
    Pair, Price, Sides,
    cross::{self, Leg, NoWay},
    decimal::Decimal,
};

type Fraction = BigRational;

fn exact(price: Price) -> Fraction {
    let value = price.value();
    Fraction::new(value.mantissa().into(), BigInt::from(10).pow(value.scale()))
}

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn sides(sell: &str, buy: &str) -> Sides<Price> {
    Sides { buy: buy.parse().unwrap(), sell: sell.parse().unwrap() }
}

/// What one unit of the base costs, and what one gets for it, by trading along the legs.
fn trade(legs: &[(Leg, Sides<Price>)]) -> Sides<Fraction> {
    let one = || Fraction::from_integer(1.into());
    legs.iter().fold(Sides { buy: one(), sell: one() }, |so_far, (leg, price)| {
        let (buy, sell) = (exact(price.buy), exact(price.sell));
        if leg.reversed {
            Sides { buy: so_far.buy / sell, sell: so_far.sell / buy }
        } else {
            Sides { buy: so_far.buy * buy, sell: so_far.sell * sell }
        }
    })
}

fn price() -> impl Strategy<Value = Sides<Price>> {
    (1..10_000_000_i64, 0..5_000_i64, 0..=8_u32).prop_map(|(bid, width, scale)| {
        let price = |digits: i64| Price::new(Decimal::new(digits, scale)).unwrap();
        Sides { buy: price(bid + width), sell: price(bid) }
    })
}

/// A chain of up to four legs in either direction.
fn legs() -> impl Strategy<Value = Vec<(Leg, Sides<Price>)>> {
    prop::collection::vec((price(), any::<bool>()), 1..=4).prop_map(|legs| {
        legs.into_iter().map(|(price, reversed)| (Leg { pair: pair("BTC_USD"), reversed }, price)).collect()
    })
}

fn step() -> impl Strategy<Value = Price> {
    (prop::sample::select(vec![1, 5, 25]), 0..14_u32)
        .prop_map(|(digits, scale)| Price::new(Decimal::new(digits, scale)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cross_is_rounded_once_and_outwards(legs in legs(), step in step()) {
        let (expected, size) = (trade(&legs), exact(step));
        let buy = (&expected.buy / &size).ceil() * &size;
        let sell = (&expected.sell / &size).floor() * &size;
        let Some(made) = cross::price(&legs, step) else {
            let huge = buy >= Fraction::from_integer(BigInt::from(10).pow(14));
            prop_assert!(sell == Fraction::from_integer(0.into()) || huge, "{} {}", buy, sell);
            return Ok(());
        };
        prop_assert_eq!((exact(made.buy), exact(made.sell)), (buy, sell));
        prop_assert!(made.sell <= made.buy, "crossed");
        prop_assert!(exact(made.buy) >= expected.buy && exact(made.sell) <= expected.sell, "better than the legs");
    }

    #[test]
    fn a_derived_step_is_fine_enough_and_no_finer(legs in legs(), at_least in 0..8_u32) {
        let scale = cross::scale(&legs, at_least);
        let million = Fraction::from_integer(1_000_000.into());
        let is_fine = |scale: u32| trade(&legs).sell >= exact(Price::unit(scale)) * &million;
        prop_assert!(scale >= at_least.max(2));
        prop_assert!(is_fine(scale) || scale == 28);
        prop_assert!(scale == at_least.max(2) || !is_fine(scale - 1));
    }

    #[test]
    fn there_and_back_nobody_gains(price in price(), step in step()) {
        let leg = |reversed| Leg { pair: pair("BTC_USD"), reversed };
        let Some(back) = cross::price(&[(leg(true), price)], step) else { return Ok(()) };
        // One buys a dollar with bitcoins, and sells it for some.
        prop_assert!(exact(back.buy) * exact(price.sell) >= Fraction::from_integer(1.into()));
        prop_assert!(exact(back.sell) * exact(price.buy) <= Fraction::from_integer(1.into()));
    }
}

fn way(of: &str, through: &[&str]) -> Result<Vec<bool>, NoWay> {
    let through: Vec<Pair> = through.iter().copied().map(pair).collect();
    cross::legs(pair(of), &through).map(|legs| legs.iter().map(|leg| leg.reversed).collect())
}

#[test]
fn legs_are_chained_by_their_assets() {
    assert_eq!(way("BTC_EUR", &["BTC_USD", "EUR_USD"]), Ok(vec![false, true]));
    assert_eq!(way("EUR_BTC", &["EUR_USD", "BTC_USD"]), Ok(vec![false, true]));
    assert_eq!(way("USD_BTC", &["BTC_USD"]), Ok(vec![true]));
    assert_eq!(way("SOL_GBP", &["SOL_BTC", "BTC_USD", "GBP_USD"]), Ok(vec![false, false, true]));
    for (of, through, problem) in [
        ("BTC_EUR", &["EUR_USD", "BTC_USD"][..], "EUR_USD does not lead on from BTC"),
        ("BTC_EUR", &["BTC_USD", "EUR_GBP"], "EUR_GBP does not lead on from USD"),
        ("BTC_EUR", &["BTC_USD"], "leads to USD, not to EUR"),
        ("BTC_EUR", &[], "leads to BTC, not to EUR"),
    ] {
        assert_eq!(way(of, through).map_err(|error| error.to_string()), Err(problem.to_owned()));
    }
}

#[test]
fn by_hand() {
    let through = cross::legs(pair("BTC_EUR"), &[pair("BTC_USD"), pair("EUR_USD")]).unwrap();
    let legs: Vec<_> = through.into_iter().zip([sides("81413.2", "81413.3"), sides("1.08001", "1.08003")]).collect();
    // 81413.2 / 1.08003 = 75380.498…, 81413.3 / 1.08001 = 75381.987…
    assert_eq!(cross::price(&legs, "0.01".parse().unwrap()), Some(sides("75380.49", "75381.99")));
    assert_eq!(cross::price(&legs, "1".parse().unwrap()), Some(sides("75380", "75382")));
    assert_eq!(cross::price(&legs, "100000".parse().unwrap()), None, "a step above the price gives zero");
    assert_eq!(cross::scale(&legs, 0), 2);

    let inverse: Vec<_> = cross::legs(pair("USD_BTC"), &[pair("BTC_USD")])
        .unwrap()
        .into_iter()
        .zip([sides("81413.2", "81413.3")])
        .collect();
    assert_eq!(cross::scale(&inverse, 0), 11);
    assert_eq!(cross::price(&inverse, Price::unit(11)), Some(sides("0.00001228300", "0.00001228303")));
}
