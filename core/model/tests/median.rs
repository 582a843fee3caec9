//! `median` against the same rules written in fractions of unlimited size.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use ratebus_model::{Price, Sides, decimal::Decimal, median};

type Fraction = BigRational;

fn exact(price: Price) -> Fraction {
    let value = price.value();
    Fraction::new(value.mantissa().into(), BigInt::from(10).pow(value.scale()))
}

fn whole(value: i64) -> Fraction {
    Fraction::from_integer(value.into())
}

/// The middle of the numbers, or the mean of the two in the middle.
fn model(mut numbers: Vec<Fraction>) -> Fraction {
    numbers.sort();
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[half].clone() } else { (&numbers[half - 1] + &numbers[half]) / whole(2) }
}

fn middle(price: &Sides<Price>) -> Fraction {
    (exact(price.buy) + exact(price.sell)) / whole(2)
}

fn price() -> impl Strategy<Value = Price> {
    let digits = prop_oneof![1..100_i128, 1..10_000_000_000_i128, 1..(1_i128 << 96)];
    (digits, 0..=28_u32).prop_map(|(digits, scale)| Price::new(Decimal::from_i128_with_scale(digits, scale)).unwrap())
}

/// Prices as they are: near each other, of some decimals.
fn usual() -> impl Strategy<Value = Sides<Price>> {
    (100_000..101_000_i64, 0..300_i64, 0..5_u32).prop_map(|(bid, width, zeros)| {
        let price = |cents: i64| Price::new(Decimal::new(cents * 10_i64.pow(zeros), 2 + zeros)).unwrap();
        Sides { buy: price(bid + width), sell: price(bid) }
    })
}

fn anything() -> impl Strategy<Value = Sides<Price>> {
    (price(), price()).prop_map(|(one, other)| Sides { buy: one.max(other), sell: one.min(other) })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_median_is_exact_never_crossed_and_within_what_was_given(prices in prop::collection::vec(usual(), 1..9)) {
        let made = median::of(&prices).unwrap();
        prop_assert_eq!(exact(made.buy), model(prices.iter().map(|price| exact(price.buy)).collect()));
        prop_assert_eq!(exact(made.sell), model(prices.iter().map(|price| exact(price.sell)).collect()));
        prop_assert!(made.sell <= made.buy);
        prop_assert!(prices.iter().any(|price| price.sell <= made.sell) && prices.iter().any(|price| made.buy <= price.buy));
    }

    #[test]
    fn whatever_the_digits_a_median_is_exact_or_none(prices in prop::collection::vec(anything(), 0..6)) {
        match median::of(&prices) {
            Some(made) => {
                prop_assert_eq!(exact(made.buy), model(prices.iter().map(|price| exact(price.buy)).collect()));
                prop_assert_eq!(exact(made.sell), model(prices.iter().map(|price| exact(price.sell)).collect()));
                prop_assert!(made.sell <= made.buy);
            }
            None => prop_assert!(prices.len() % 2 == 0),
        }
    }

    #[test]
    fn distances_are_judged_exactly(
        price in prop_oneof![usual(), anything()], from in prop_oneof![usual(), anything()], bps in prop_oneof![0..200_u32, any::<u32>()],
    ) {
        let distance = (middle(&price) - middle(&from)) * whole(10_000) / middle(&from);
        let expected = distance > whole(bps.into()) || distance < -whole(bps.into());
        prop_assert_eq!(median::is_apart(price, from, bps), expected);
    }
}

#[test]
fn a_mean_has_one_decimal_more_at_most() {
    let of = |low: &str, high: &str| {
        let price = |text: &str| Sides { buy: text.parse().unwrap(), sell: text.parse().unwrap() };
        median::of(&[price(high), price(low)]).map(|made| made.buy.to_string())
    };
    assert_eq!(of("100.00", "100.02").as_deref(), Some("100.01"));
    assert_eq!(of("100.00", "100.01").as_deref(), Some("100.005"));
    assert_eq!(of("0.0000000000000000000000000001", "0.0000000000000000000000000002"), None, "29 decimals");
    assert_eq!(median::of(&[]), None);
}

#[test]
fn what_is_exactly_at_the_limit_is_not_beyond_it() {
    let price = |text: &str| Sides { buy: text.parse().unwrap(), sell: text.parse().unwrap() };
    assert!(!median::is_apart(price("101"), price("100"), 100));
    assert!(median::is_apart(price("101.0000001"), price("100"), 100));
    assert!(!median::any_apart(&[price("100"), price("100.5"), price("101")], 100));
    assert!(median::any_apart(&[price("100"), price("100.5"), price("101.01")], 100));
}
