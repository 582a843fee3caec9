//! `pricing` against the same rules written in fractions of unlimited size.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use ratebus_model::{
    Adjustment, Price, Rule, Sides, Unit,
    decimal::{self, Decimal},
    pricing::{PricingError, check_without_price, house_loss, moves_more_than, price, step_of_scale, width_bps},
};

type Fraction = BigRational;

fn exact(value: Decimal) -> Fraction {
    Fraction::new(value.mantissa().into(), BigInt::from(10).pow(value.scale()))
}

fn whole(value: i64) -> Fraction {
    Fraction::from_integer(value.into())
}

/// Whether a `Decimal` holds `value`: at most 28 decimals, digits below 2^96.
fn fits(value: &Fraction) -> bool {
    (0..=28)
        .map(|scale| value * Fraction::from_integer(BigInt::from(10).pow(scale)))
        .find(Fraction::is_integer)
        .is_some_and(|digits| digits.to_integer().magnitude().bits() <= 96)
}

/// `original` moved as an exact straight line: its slope and its offset.
fn line(adjustment: Adjustment) -> (Fraction, Fraction) {
    let value = exact(adjustment.value);
    match adjustment.unit {
        Unit::Absolute => (whole(1), value),
        Unit::Percent => (whole(1) + value / whole(100), whole(0)),
        Unit::Bps => (whole(1) + value / whole(10_000), whole(0)),
    }
}

fn moved(original: Price, adjustment: Adjustment) -> Fraction {
    let (slope, offset) = line(adjustment);
    exact(original.value()) * slope + offset
}

/// What `price` must answer: the customer's prices and their distance from the original ones.
fn model(original: Sides<Price>, rule: &Rule, step: Price) -> Result<(Sides<Fraction>, Sides<Fraction>), PricingError> {
    let step = exact(step.value());
    let buy = (moved(original.buy, rule.adjustments().buy) / &step).ceil() * &step;
    let sell = (moved(original.sell, rule.adjustments().sell) / &step).floor() * &step;
    if !fits(&buy) || !fits(&sell) {
        return Err(PricingError::OutOfRange);
    }
    if buy <= whole(0) {
        return Err(PricingError::BuyNotPositive);
    }
    if sell <= whole(0) {
        return Err(PricingError::SellNotPositive);
    }
    if sell > buy {
        return Err(PricingError::Crossed);
    }
    let spread = Sides { buy: &buy - exact(original.buy.value()), sell: &sell - exact(original.sell.value()) };
    if fits(&spread.buy) && fits(&spread.sell) {
        Ok((Sides { buy, sell }, spread))
    } else {
        Err(PricingError::OutOfRange)
    }
}

fn number(text: &str) -> Decimal {
    decimal::parse(text).unwrap()
}

fn positive(text: &str) -> Price {
    text.parse().unwrap()
}

fn absolute(buy: &str, sell: &str) -> Rule {
    Rule::from_adjustments(Sides { buy, sell }.map(|value| Adjustment::absolute(number(value))))
}

/// Up to 28 digits, the point anywhere in or before them.
fn any_price() -> impl Strategy<Value = Price> {
    (1..=28_u32, 0..=28_u32)
        .prop_flat_map(|(digits, scale)| (1..10_i128.pow(digits), Just(scale)))
        .prop_map(|(mantissa, scale)| Price::new(Decimal::from_i128_with_scale(mantissa, scale)).unwrap())
}

/// What exchanges send: up to a million, up to 8 decimals.
fn usual_price() -> impl Strategy<Value = Price> {
    (1..1_000_000_000_i64, 0..=8_u32).prop_map(|(mantissa, scale)| Price::new(Decimal::new(mantissa, scale)).unwrap())
}

fn any_original() -> impl Strategy<Value = Sides<Price>> {
    let near = (usual_price(), 0..10_000_u32).prop_map(|(sell, above)| {
        let buy = Price::new(sell.value() + Decimal::new(above.into(), sell.scale())).unwrap();
        Sides { buy, sell }
    });
    let anything = (any_price(), any_price()).prop_map(|(buy, sell)| Sides { buy, sell });
    prop_oneof![3 => near, 1 => anything]
}

fn any_adjustment() -> impl Strategy<Value = Adjustment> {
    let unit = prop_oneof![Just(Unit::Absolute), Just(Unit::Percent), Just(Unit::Bps)];
    let small = (-30_000..30_000_i64, 0..=8_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale));
    let large = (any_price(), any::<bool>()).prop_map(|(size, up)| if up { size.value() } else { -size.value() });
    (unit, prop_oneof![4 => small, 1 => large]).prop_map(|(unit, value)| Adjustment { unit, value })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (any_adjustment(), any_adjustment()).prop_map(|(buy, sell)| Rule::from_adjustments(Sides { buy, sell }))
}

fn any_step() -> impl Strategy<Value = Price> {
    let usual = prop::sample::select(vec!["0.01", "0.05", "0.5", "1", "0.00000001", "0.25", "100", "0.010"]);
    prop_oneof![9 => usual.prop_map(positive), 1 => any_price()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn customer_prices_are_those_of_the_model(original in any_original(), rule in any_rule(), step in any_step()) {
        let customer = price(original, &rule, step);
        let shown = customer.map(|c| (c.price.map(|side| exact(side.value())), c.spread.map(exact)));
        prop_assert_eq!(shown, model(original, &rule, step));
    }

    #[test]
    fn what_the_customer_sees_adds_up_to_the_digit(original in any_original(), rule in any_rule(), step in any_step()) {
        let Ok(customer) = price(original, &rule, step) else { return Ok(()) };
        let (of, step) = (|value| exact(value), exact(step.value()));
        let Sides { buy, sell } = customer.price;
        prop_assert_eq!(of(buy.value()), of(original.buy.value()) + of(customer.spread.buy));
        prop_assert_eq!(of(sell.value()), of(original.sell.value()) + of(customer.spread.sell));
        for side in [buy, sell] {
            prop_assert!((of(side.value()) / &step).is_integer());
        }
        // The next multiple in the customer's favour would be past the exact price.
        prop_assert!(of(buy.value()) - &step < moved(original.buy, rule.adjustments().buy));
        prop_assert!(of(sell.value()) + &step > moved(original.sell, rule.adjustments().sell));
    }

    #[test]
    fn the_width_is_right_to_two_decimals(sell in usual_price(), above in 0..1_000_000_000_u32) {
        let buy = Price::new(sell.value() + Decimal::new(above.into(), sell.scale())).unwrap();
        let shown = width_bps(Sides { buy, sell }).unwrap();
        let (buy, sell) = (exact(buy.value()), exact(sell.value()));
        let width = (&buy - &sell) * whole(20_000) / (buy + sell);
        let error = exact(shown) - width;
        // Half a hundredth, and what a division of 28 digits cannot tell from it.
        let most = Fraction::new(5.into(), 1000.into()) + Fraction::new(1.into(), 10_000_000_000_i64.into());
        prop_assert!(shown.scale() <= 2 && -most.clone() <= error && error <= most, "{}", shown);
    }

    #[test]
    fn the_house_loses_when_it_could_trade_back_at_once_for_more(
        market in any_original(), rule in any_rule(), step in any_step(),
    ) {
        let Ok(customer) = price(market, &rule, step) else { return Ok(()) };
        // It would buy from the customer and sell to the market, or the other way round.
        let bought = exact(market.sell.value()) - exact(customer.price.sell.value());
        let sold = exact(customer.price.buy.value()) - exact(market.buy.value());
        let loses = bought < whole(0) || sold < whole(0);
        prop_assert_eq!(house_loss(customer.price, market.sell, market.buy), loses);
    }

    #[test]
    fn without_a_price_a_rule_is_refused_if_it_crosses_at_any(rule in any_rule()) {
        let Sides { buy: (buy_slope, buy_offset), sell: (sell_slope, sell_offset) } = rule.adjustments().map(line);
        let expected = if buy_slope <= whole(0) {
            Err(PricingError::BuyNotPositive)
        } else if sell_slope <= whole(0) {
            Err(PricingError::SellNotPositive)
        } else if sell_slope > buy_slope || sell_offset > buy_offset {
            // The steeper line is above for a large price, the higher one for a small price.
            Err(PricingError::Crossed)
        } else {
            Ok(())
        };
        prop_assert_eq!(check_without_price(&rule), expected);
    }

    #[test]
    fn a_rule_that_passes_without_a_price_never_crosses(rule in any_rule(), one in any_price(), step in any_step()) {
        if check_without_price(&rule).is_ok() {
            prop_assert_ne!(price(Sides { buy: one, sell: one }, &rule, step), Err(PricingError::Crossed));
        }
    }

    #[test]
    fn how_far_a_price_is_moved_is_judged_exactly(
        one in any_price(),
        adjustment in any_adjustment(),
        percent in prop_oneof![0..200_u32, any::<u32>()],
    ) {
        let distance = moved(one, adjustment) - exact(one.value());
        let far = distance.clone().max(-distance) * whole(100) > exact(one.value()) * whole(percent.into());
        prop_assert_eq!(moves_more_than(percent, adjustment, Some(one)), far);
    }

    #[test]
    fn subtraction_is_exact_or_refused(left in any_price(), right in any_price()) {
        let difference = exact(left.value()) - exact(right.value());
        let expected = fits(&difference).then_some(difference);
        prop_assert_eq!(decimal::checked_sub(left.value(), right.value()).map(exact), expected);
    }

    #[test]
    fn text_is_read_exactly_or_refused(mantissa in any::<i128>(), scale in 0..40_usize, exponent in -40..40_i32) {
        let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = scale + 1);
        let (whole_part, fraction) = digits.split_at(digits.len() - scale);
        let sign = if mantissa < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{sign}{whole_part}{point}{fraction}e{exponent}");
        let power = |exponent: usize| BigInt::from(10).pow(u32::try_from(exponent).unwrap());
        let lift = Fraction::from_integer(power(exponent.unsigned_abs() as usize));
        let value = Fraction::new(mantissa.into(), power(scale));
        let value = if exponent < 0 { value / lift } else { value * lift };
        prop_assert_eq!(decimal::parse(&text).ok().map(exact), fits(&value).then_some(value));
    }
}

#[test]
fn an_amount_is_far_only_from_a_price() {
    let (price, amount) = (Some(positive("20249.0")), |text| Adjustment::absolute(number(text)));
    let percent = |text| Adjustment { unit: Unit::Percent, value: number(text) };
    for (adjustment, price, far) in [
        (amount("10124.5"), price, false),
        (amount("-10124.5"), price, false),
        (amount("10124.51"), price, true),
        (amount("-10124.51"), price, true),
        (amount("10124.51"), None, false),
        (percent("50.0"), None, false),
        (percent("-50.01"), None, true),
        (Adjustment { unit: Unit::Bps, value: number("5000.1") }, price, true),
    ] {
        assert_eq!(moves_more_than(50, adjustment, price), far, "{adjustment:?}");
    }
}

#[test]
fn the_original_projects_example_comes_out_to_the_digit() {
    let ask = positive("20249.00000");
    let customer = price(Sides { buy: ask, sell: ask }, &absolute("450", "433"), step_of_scale(0)).unwrap();
    let shown = customer.price.map(|side| decimal::json_number(side.value()));
    assert_eq!((shown.buy.as_str(), shown.sell.as_str()), ("20699", "20682"));
    assert_eq!(customer.spread.map(decimal::json_number), Sides { buy: "450".to_owned(), sell: "433".to_owned() });
}

#[test]
fn rounding_favours_the_house_on_both_sides() {
    let original = Sides { buy: positive("100.001"), sell: positive("99.999") };
    let customer = price(original, &absolute("0", "0"), positive("0.01")).unwrap();
    assert_eq!(
        customer.price.map(|side| side.to_string()),
        Sides { buy: "100.01".to_owned(), sell: "99.99".to_owned() }
    );
    assert_eq!(customer.spread.map(|d| d.to_string()), Sides { buy: "0.009".to_owned(), sell: "-0.009".to_owned() });
}

#[test]
fn a_rule_without_a_price_says_why() {
    let original = Sides { buy: positive("100"), sell: positive("99") };
    let step = positive("0.01");
    for (rule, error) in [
        (absolute("-2", "0"), PricingError::Crossed),
        (absolute("-100", "-98"), PricingError::BuyNotPositive),
        (absolute("0", "-98.995"), PricingError::SellNotPositive),
        (absolute("79228162514264337593543950335", "0"), PricingError::OutOfRange),
    ] {
        assert_eq!(price(original, &rule, step), Err(error));
    }
    assert!(price(original, &absolute("-1", "0"), step).is_ok(), "locked is not crossed");
}

#[test]
fn a_step_far_above_the_price_leaves_nothing_for_the_seller() {
    let long = "0.1234567890123456789012345678";
    let original = Sides { buy: positive(long), sell: positive(long) };
    let value = Adjustment { unit: Unit::Bps, value: number(long) };
    let rule = Rule::from_adjustments(Sides { buy: value, sell: value });
    let step = positive("100000000000000000000");
    assert_eq!(price(original, &rule, step), Err(PricingError::SellNotPositive));
}

#[test]
fn steps_follow_the_finest_decimals_received() {
    assert_eq!([0, 1, 2, 5, 28, 99].map(|scale| step_of_scale(scale).scale()), [2, 2, 2, 5, 28, 28]);
}

#[test]
fn the_house_loses_above_the_bid_or_below_the_ask() {
    let customer = |buy, sell| Sides { buy: positive(buy), sell: positive(sell) };
    let (bid, ask) = (positive("99"), positive("100"));
    assert!(!house_loss(customer("100", "99"), bid, ask));
    assert!(house_loss(customer("99.99", "99"), bid, ask));
    assert!(house_loss(customer("100", "99.01"), bid, ask));
}

#[test]
fn width_is_measured_from_the_middle() {
    let width = |buy, sell| width_bps(Sides { buy: positive(buy), sell: positive(sell) }).map(|bps| bps.to_string());
    assert_eq!(width("101", "99").as_deref(), Some("200"));
    assert_eq!(width("81863.30", "80980.20").as_deref(), Some("108.46"));
    assert_eq!(width("5", "5").as_deref(), Some("0"));
}
