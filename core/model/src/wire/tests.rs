use std::sync::LazyLock;

use proptest::{option, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::{
    Adjustment, Customer, Epoch, Market, Pair, PairState, Price, Quote, Rate, RateKind, RateValue, Rule, RuleRef,
    Scope, Sides, SourceName, Spread, Status, Timestamp, Unit, Version, Withheld, decimal::Decimal,
};

/// One moment for all, far enough from the clock's start for any age below.
fn arrival() -> Arrival {
    static AT: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(1 << 20));
    Arrival { time: Timestamp::from_millis(1_790_000_000_000), at: *AT }
}

fn price() -> impl Strategy<Value = Price> {
    (1i64.., 0u32..=12).prop_map(|(digits, scale)| Price::new(Decimal::new(digits, scale)).unwrap())
}

/// Bid and ask.
fn sides() -> impl Strategy<Value = (Price, Price)> {
    (price(), price()).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn pair() -> impl Strategy<Value = Pair> {
    prop_oneof!["BTC_USD", "ETH_USD", "DOGE_EUR"].prop_map(|text: String| text.parse().unwrap())
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

fn market() -> impl Strategy<Value = Market> {
    prop_oneof![Just(Market::Online), Just(Market::NotMatching), Just(Market::Maintenance), Just(Market::Unknown)]
}

/// In whole milliseconds, as they travel.
fn span() -> impl Strategy<Value = Duration> {
    (0u64..1_000_000).prop_map(Duration::from_millis)
}

fn limits() -> impl Strategy<Value = Limits> {
    (span(), span()).prop_map(|(a, b)| Limits { stale_after: a.min(b), dead_after: a.max(b) })
}

fn version() -> impl Strategy<Value = Version> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, sequence)| Version { epoch: Epoch::new(epoch), sequence })
}

fn source() -> SourceName {
    "kraken".parse().unwrap()
}

fn rate() -> impl Strategy<Value = Rate> {
    let value = prop_oneof![
        sides().prop_map(|(bid, ask)| RateValue::TwoSided { bid, ask }),
        price().prop_map(|price| RateValue::Reference { price }),
    ];
    (value, pair(), market(), option::of(timestamp()), timestamp(), span(), limits(), version()).prop_map(
        |(value, pair, market, event_time, recv_time, age, limits, version)| Rate {
            source: source(),
            pair,
            value,
            market,
            event_time,
            recv_time,
            confirmed_at: arrival().at.checked_sub(age).unwrap(),
            limits,
            version,
        },
    )
}

fn adjustment() -> impl Strategy<Value = Adjustment> {
    let unit = prop_oneof![Just(Unit::Absolute), Just(Unit::Percent), Just(Unit::Bps)];
    (unit, any::<i32>()).prop_map(|(unit, value)| Adjustment { unit, value: Decimal::new(value.into(), 3) })
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::All), pair().prop_map(Scope::Pair)]
}

fn quote() -> impl Strategy<Value = Quote> {
    let withheld = prop::sample::select(vec![
        Withheld::NoSpread,
        Withheld::SpreadsUnknown,
        Withheld::InvalidSpread,
        Withheld::NoQuorum,
        Withheld::Disagreement,
        Withheld::OutOfRange,
    ]);
    let rule = option::of((option::of(scope()), any::<u64>()))
        .prop_map(|rule| rule.map(|(scope, revision)| RuleRef { scope, revision }));
    let status = prop_oneof![Just(Status::Fresh), Just(Status::Stale), Just(Status::Dead)];
    let customer = (sides(), prop_oneof![withheld.prop_map(Err), Just(Ok(()))]);
    (rate(), customer, rule, price(), status, timestamp()).prop_map(
        |(rate, ((sell, buy), withheld), rule, step, published_status, published_time)| {
            let original = Sides { buy: rate.value.ask(), sell: rate.value.bid() };
            let over = |()| Customer::over(original, Sides { buy, sell }).ok_or(Withheld::InvalidSpread);
            Quote {
                pair: rate.pair,
                source: rate.source,
                sources: [rate.source, "acme".parse().unwrap()].into(),
                kind: RateKind::TwoSided,
                bid: rate.value.bid(),
                ask: rate.value.ask(),
                original,
                customer: withheld.and_then(over),
                rule,
                step,
                market: rate.market,
                published_status,
                event_time: rate.event_time,
                recv_time: rate.recv_time,
                published_time,
                confirmed_at: rate.confirmed_at,
                limits: rate.limits,
                version: rate.version,
            }
        },
    )
}

/// There and back, `travelled` later.
fn round_trip(payload: &Payload, travelled: Duration) -> Payload {
    let text = serde_json::to_string(&WirePayload::new(payload, arrival().at)).unwrap();
    serde_json::from_str::<WirePayload>(&text).unwrap().into_payload(arrival(), travelled).unwrap()
}

proptest! {
    #[test]
    fn a_rate_loses_nothing_and_gets_no_younger(rate in rate(), travelled in span()) {
        let Payload::Rate(here) = round_trip(&rate.clone().into(), travelled) else { panic!() };
        prop_assert_eq!(Rate::clone(&here), Rate { confirmed_at: rate.confirmed_at.checked_sub(travelled).unwrap(), ..rate });
    }

    #[test]
    fn a_quote_loses_nothing(quote in quote()) {
        let Payload::Quote(here) = round_trip(&quote.clone().into(), Duration::ZERO) else { panic!() };
        prop_assert_eq!(Quote::clone(&here), quote);
    }

    #[test]
    fn a_spread_loses_who_set_it_and_nothing_else(
        (scope, buy, sell, revision, updated_at) in (scope(), adjustment(), adjustment(), any::<u64>(), timestamp()),
        removed: bool,
    ) {
        let rule = (!removed).then(|| Rule::from_adjustments(Sides { buy, sell }));
        let spread = Spread { scope, rule, revision, updated_by: "ann@example.com".to_owned(), updated_at };
        let Payload::Spread(here) = round_trip(&spread.clone().into(), Duration::ZERO) else { panic!() };
        prop_assert_eq!(Spread { updated_by: spread.updated_by.clone(), ..Spread::clone(&here) }, spread);
    }

    #[test]
    fn bytes_are_bytes(bytes: Vec<u8>) {
        let Payload::Bytes(here) = round_trip(&Payload::Bytes(bytes.clone().into()), Duration::ZERO) else {
            panic!()
        };
        prop_assert_eq!(here, bytes);
    }
}

#[test]
fn pairs_keep_their_states() {
    let states =
        [PairState::Pending, PairState::Subscribed, PairState::Refused("Currency pair not supported".to_owned())];
    let pairs = ["BTC_USD", "ETH_USD", "NO_PE"].map(|text| text.parse().unwrap()).into_iter().zip(states).collect();
    let list = crate::PairList { source: source(), pairs };
    let Payload::Pairs(here) = round_trip(&list.clone().into(), Duration::ZERO) else { panic!() };
    assert_eq!(*here, list);
}

/// The document of a rate, as readers in other languages know it.
fn document() -> Value {
    json!({ "rate": {
        "source": "kraken", "pair": "BTC_USD", "kind": "two_sided", "bid": "81413.20", "ask": "81413.3",
        "market": "online", "eventTime": null, "receivedTime": "2026-09-19T18:57:46.901220Z",
        "feedAgeMs": 12, "staleAfterMs": 10_000, "deadAfterMs": 60_000,
        "epoch": "5f0c1d2e3b4a5968", "sequence": 17,
    }})
}

fn read(document: &Value) -> Result<Payload, String> {
    let payload: WirePayload = serde_json::from_str(&document.to_string()).map_err(|error| error.to_string())?;
    payload.into_payload(arrival(), Duration::ZERO).map_err(|error| error.to_string())
}

#[test]
fn the_document_of_a_rate_is_a_contract() {
    let Ok(Payload::Rate(rate)) = read(&document()) else { panic!() };
    let again = serde_json::to_value(WirePayload::new(&rate.into(), arrival().at)).unwrap();
    assert_eq!(again, document());
}

proptest! {
    #[test]
    fn a_quote_of_an_older_sender_has_one_source(quote in quote()) {
        let mut document = serde_json::to_value(WirePayload::new(&quote.clone().into(), arrival().at)).unwrap();
        document["quote"].as_object_mut().unwrap().remove("sources");
        let Ok(Payload::Quote(here)) = read(&document) else { panic!() };
        prop_assert_eq!(here.sources.to_vec(), [quote.source]);
    }
}

#[test]
fn what_no_sender_meant_is_refused() {
    let mut newer = document();
    newer["rate"]["volume"] = json!("12.5");
    assert!(read(&newer).is_ok(), "a newer sender may add members");
    for (member, value) in [
        ("bid", json!("81413.31")),
        ("bid", json!("0")),
        ("bid", json!("-1")),
        ("bid", json!(81413.2)),
        ("bid", json!("1e99")),
        ("ask", json!("NaN")),
        ("ask", json!(null)),
        ("kind", json!("half")),
        ("market", json!("open")),
        ("pair", json!("BTC.USD")),
        ("source", json!("Kraken *")),
        ("feedAgeMs", json!(-1)),
        ("feedAgeMs", json!("12")),
        ("staleAfterMs", json!(60_001)),
        ("epoch", json!("17")),
        ("receivedTime", json!("yesterday")),
    ] {
        let mut document = document();
        document["rate"][member] = value.clone();
        assert!(read(&document).is_err(), "{member} = {value}");
    }
    for document in [json!({}), json!({ "price": {} }), json!({ "base64": "?" }), json!([]), json!({"text": 1})] {
        assert!(read(&document).is_err(), "{document}");
    }
}
