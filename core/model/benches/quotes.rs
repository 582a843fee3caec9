//! What a quote costs: its price, and the JSON that clients get. `cargo bench -p ratebus-model`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::{
    hint::black_box,
    time::{Instant, SystemTime},
};

use criterion::{Criterion, criterion_group, criterion_main};
use ratebus_model::{
    Adjustment, Epoch, Limits, Market, Price, Quote, RateKind, Rule, RuleRef, Sides, Status, Timestamp, Unit, Version,
    compat, decimal, pricing,
};

fn price_of(text: &str) -> Price {
    text.parse().unwrap()
}

fn original() -> Sides<Price> {
    Sides { buy: price_of("81413.3"), sell: price_of("81413.2") }
}

fn rule(unit: Unit, markup: &str) -> Rule {
    let side = Adjustment { unit, value: decimal::parse(markup).unwrap() };
    Rule::from_markup(Sides { buy: side, sell: side })
}

fn quote() -> Quote {
    let (now, rule) = (Timestamp::from(SystemTime::now()), rule(Unit::Absolute, "450"));
    Quote {
        pair: "BTC_USD".parse().unwrap(),
        source: "kraken".parse().unwrap(),
        sources: ["kraken".parse().unwrap()].into(),
        kind: RateKind::TwoSided,
        bid: original().sell,
        ask: original().buy,
        original: original(),
        customer: Ok(pricing::price(original(), &rule, price_of("0.01")).unwrap()),
        rule: Some(RuleRef { scope: None, revision: 0 }),
        step: price_of("0.01"),
        market: Market::Online,
        published_status: Status::Fresh,
        event_time: Some(now),
        recv_time: now,
        published_time: now,
        confirmed_at: Instant::now(),
        limits: Limits::STREAM,
        version: Version::first(Epoch::new(1)),
    }
}

fn quotes(criterion: &mut Criterion) {
    let (step, quote) = (price_of("0.01"), quote());
    for (name, rule) in [("absolute", rule(Unit::Absolute, "450")), ("percent", rule(Unit::Percent, "0.25"))] {
        criterion.bench_function(&format!("price, {name}"), |bencher| {
            bencher.iter(|| pricing::price(black_box(original()), black_box(&rule), step));
        });
    }
    criterion.bench_function("JSON of /v1", |bencher| {
        bencher.iter(|| serde_json::to_string(&black_box(&quote).view(Status::Fresh)));
    });
    criterion.bench_function("JSON of rates:live", |bencher| {
        bencher.iter(|| serde_json::to_string(&compat::live_entry(black_box(&quote), Status::Fresh)));
    });
}

criterion_group!(benches, quotes);
criterion_main!(benches);
