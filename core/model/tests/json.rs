//! The JSON that clients see, to the byte. `docs/api.md` describes it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use ratebus_model::{
    Adjustment, AgeView, Customer, Epoch, Limits, Market, Pair, PairState, Price, Quote, Rate, RateKind, RateValue,
    Rule, RuleRef, Scope, Sides, Status, Timestamp, Version, Withheld, compat,
    decimal::{self, Decimal},
    pricing,
};
use serde::Serialize;

const PRICED: &str = r#"{"pair":"BTC_USD","source":"kraken","sources":["kraken"],"kind":"two_sided","status":"fresh","market":"online","#;
const VERSIONED: &str = concat!(
    r#""epoch":"5f0c1d2e3b4a5968","sequence":17,"#,
    r#""eventTime":"2026-09-19T18:57:46.849909Z","receivedTime":"2026-09-19T18:57:46.901220Z""#
);

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn number(text: &str) -> Decimal {
    decimal::parse(text).unwrap()
}

fn positive(text: &str) -> Price {
    text.parse().unwrap()
}

fn btc_usd() -> Pair {
    "BTC_USD".parse().unwrap()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn adjusted(original: Sides<Price>, buy: &str, sell: &str) -> Customer {
    let rule = Rule::from_adjustments(Sides { buy, sell }.map(|value| Adjustment::absolute(number(value))));
    pricing::price(original, &rule, positive("0.01")).unwrap()
}

fn rate() -> Rate {
    Rate {
        source: "kraken".parse().unwrap(),
        pair: btc_usd(),
        value: RateValue::TwoSided { bid: positive("81413.2"), ask: positive("81413.3") },
        market: Market::Online,
        event_time: Some(moment("2026-09-19T18:57:46.849909Z")),
        recv_time: moment("2026-09-19T18:57:46.901220Z"),
        confirmed_at: Instant::now(),
        limits: Limits::STREAM,
        version: Version { epoch: "5f0c1d2e3b4a5968".parse().unwrap(), sequence: 17 },
    }
}

fn quote() -> Quote {
    let rate = rate();
    let original = Sides { buy: rate.value.ask(), sell: rate.value.bid() };
    Quote {
        pair: rate.pair,
        source: rate.source,
        sources: [rate.source].into(),
        kind: RateKind::TwoSided,
        bid: rate.value.bid(),
        ask: rate.value.ask(),
        original,
        customer: Ok(adjusted(original, "450", "-433")),
        rule: Some(RuleRef { scope: Some(Scope::Pair(btc_usd())), revision: 3 }),
        step: positive("0.01"),
        market: rate.market,
        published_status: Status::Fresh,
        event_time: rate.event_time,
        recv_time: rate.recv_time,
        published_time: moment("2026-09-19T18:57:46.901377Z"),
        confirmed_at: rate.confirmed_at,
        limits: rate.limits,
        version: rate.version,
    }
}

#[test]
fn a_fresh_quote() {
    let expected = format!(
        r#"{PRICED}"original":{{"buy":"81413.3","sell":"81413.2"}},"customer":{{"buy":"81863.30","sell":"80980.20"}},"spread":{{"buy":"450.00","sell":"-433.00"}},"rule":{{"scope":"BTC_USD","revision":3}},"withheld":null,{VERSIONED},"publishedTime":"2026-09-19T18:57:46.901377Z"}}"#
    );
    assert_eq!(json(&quote().view(Status::Fresh)), expected);
}

#[test]
fn an_answer_of_one_moment_adds_the_ages_at_its_end() {
    let age = AgeView::new(Duration::from_millis(1_234), Duration::from_micros(900));
    for text in [json(&quote().view(Status::Fresh).with_age(age)), json(&rate().view(Status::Fresh).with_age(age))] {
        assert!(text.ends_with(r#"Z","ageMs":1234,"feedAgeMs":0}"#), "{text}");
    }
}

#[test]
fn a_dead_quote_has_no_prices() {
    let expected = format!(
        r#"{}"original":null,"customer":null,"spread":null,"rule":{{"scope":"BTC_USD","revision":3}},"withheld":null,{VERSIONED},"publishedTime":"2026-09-19T18:57:46.901377Z"}}"#,
        PRICED.replace("fresh", "dead")
    );
    assert_eq!(json(&quote().view(Status::Dead)), expected);
}

#[test]
fn a_withheld_quote_says_why() {
    let unset = Quote { customer: Err(Withheld::NoSpread), rule: None, ..quote() };
    let expected = format!(
        r#"{PRICED}"original":{{"buy":"81413.3","sell":"81413.2"}},"customer":null,"spread":null,"rule":null,"withheld":"no_spread",{VERSIONED},"publishedTime":"2026-09-19T18:57:46.901377Z"}}"#
    );
    assert_eq!(json(&unset.view(Status::Fresh)), expected);

    let by_default = Some(RuleRef { scope: None, revision: 0 });
    let invalid = Quote { customer: Err(Withheld::InvalidSpread), rule: by_default, ..quote() };
    let text = json(&invalid.view(Status::Stale));
    assert!(text.contains(r#""rule":{"scope":null,"revision":0},"withheld":"invalid_spread""#), "{text}");
}

#[test]
fn a_rate_has_the_fields_of_a_quote_but_for_the_spread() {
    let expected = format!(r#"{PRICED}"original":{{"buy":"81413.3","sell":"81413.2"}},{VERSIONED}}}"#);
    let expected = expected.replace(r#""sources":["kraken"],"#, "");
    assert_eq!(json(&rate().view(Status::Fresh)), expected);

    let one_price = Rate { value: RateValue::Reference { price: positive("0.000001230") }, event_time: None, ..rate() };
    let text = json(&one_price.view(Status::Stale));
    assert!(text.contains(r#""kind":"reference","status":"stale""#), "{text}");
    assert!(text.contains(r#""original":{"buy":"0.000001230","sell":"0.000001230"}"#), "{text}");
    assert!(text.contains(r#""eventTime":null"#), "{text}");
    assert!(json(&one_price.view(Status::Dead)).contains(r#""original":null"#));
}

#[test]
fn old_clients_get_numbers_that_carry_every_digit() {
    let ask = positive("20249.00000");
    let original = Sides { buy: ask, sell: ask };
    let sample = Quote { original, customer: Ok(adjusted(original, "450", "433")), ..quote() };
    let expected = concat!(
        r#"{"original":{"buy":20249,"sell":20249},"withSpread":{"buy":20699,"sell":20682},"#,
        r#""currentSpread":{"buy":450,"sell":433},"status":"fresh","updatedAt":"2026-09-19T18:57:46.901377Z"}"#
    );
    assert_eq!(json(&compat::live_entry(&sample, Status::Fresh).unwrap()), expected);

    let digits = positive("1234567890123456789.012345678");
    let tiny = positive("0.00000001000");
    let original = Sides { buy: digits, sell: tiny };
    let spread = Sides { buy: number("0.0"), sell: number("-0.00000000100") };
    let long = Quote { original, customer: Ok(Customer { price: original, spread }), ..quote() };
    let text = json(&compat::live_entry(&long, Status::Stale).unwrap());
    let expected = concat!(
        r#"{"original":{"buy":1234567890123456789.012345678,"sell":0.00000001},"#,
        r#""withSpread":{"buy":1234567890123456789.012345678,"sell":0.00000001},"#,
        r#""currentSpread":{"buy":0,"sell":-0.000000001},"status":"stale""#
    );
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn old_clients_see_no_dead_and_no_withheld_pair() {
    assert!(compat::live_entry(&quote(), Status::Stale).is_some());
    assert!(compat::live_entry(&quote(), Status::Dead).is_none());
    for reason in [Withheld::NoSpread, Withheld::InvalidSpread] {
        assert!(compat::live_entry(&Quote { customer: Err(reason), ..quote() }, Status::Fresh).is_none());
    }
}

#[test]
fn the_smaller_types_have_one_form_each() {
    assert_eq!(json(&Scope::All), r#""*""#);
    assert_eq!(json(&Epoch::new(7)), r#""0000000000000007""#);
    assert_eq!(json(&Market::NotMatching), r#""not_matching""#);
    assert_eq!(json(&PairState::Subscribed), r#"{"state":"subscribed"}"#);
    assert_eq!(json(&PairState::Refused("no".to_owned())), r#"{"state":"refused","reason":"no"}"#);
    for text in ["+00000000000000a", "7", "000000000000000g", "00000000000000007"] {
        assert!(text.parse::<Epoch>().is_err(), "{text}");
    }
}

#[test]
fn adjustments_are_text_and_nothing_else() {
    let read = serde_json::from_str::<Adjustment>;
    assert_eq!(json(&read(r#"{"unit":"bps","value":"25.50"}"#).unwrap()), r#"{"unit":"bps","value":"25.50"}"#);
    assert_eq!(read(r#"{"value":"450"}"#).unwrap(), Adjustment::absolute(number("450")));
    for text in
        [r#"{"value":450}"#, r#"{"value":"1,5"}"#, r#"{"value":"1","x":1}"#, r#"{"unit":"pips","value":"1"}"#, "{}"]
    {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn a_markup_is_an_adjustment_seen_from_the_house() {
    let sides = |buy, sell| Sides { buy, sell }.map(|value| Adjustment::absolute(number(value)));
    let rule = Rule::from_markup(sides("450", "433"));
    assert_eq!(rule, Rule::from_adjustments(sides("450", "-433")));
    assert_eq!(rule.markup(), sides("450", "433"));
    // A decimal has a negative zero; nobody should see it.
    let zero = Rule::from_adjustments(sides("0", "0.00")).markup();
    assert_eq!(json(&zero.sell), r#"{"unit":"absolute","value":"0.00"}"#);
    assert_eq!(json(&Rule::from_markup(zero).adjustments().sell), r#"{"unit":"absolute","value":"0.00"}"#);
}
