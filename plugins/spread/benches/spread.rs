//! What the plugin costs: from a rate in its inbox to a quote on the bus of the tests. `cargo bench -p ratebus-spread`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ratebus_model::{Epoch, Limits, Market, Message, Payload, Rate, RateValue, Subject, Version};
use ratebus_sdk::{
    Clock, Factory, Sink,
    testkit::{RecordingHost, env},
};
use ratebus_spread::Spread;
use serde_json::json;
use tokio::runtime::Builder;

/// So many rates of one pair in an iteration, each at another price.
const RATES: u16 = 1024;

fn rate(number: u16) -> Rate {
    let arrival = Clock.arrival();
    let price = |cents| format!("81{number:04}.{cents}").parse().unwrap();
    let epoch = Epoch::new(1);
    Rate {
        source: "kraken".parse().unwrap(),
        pair: "BTC_USD".parse().unwrap(),
        value: RateValue::TwoSided { bid: price(2), ask: price(3) },
        market: Market::Online,
        event_time: None,
        recv_time: arrival.time,
        confirmed_at: arrival.at,
        limits: Limits::STREAM,
        version: Version { epoch, sequence: u64::from(number) },
    }
}

/// How long the plugin takes for all that is in its inbox.
fn run() -> Duration {
    let host = RecordingHost::new();
    let config = json!({ "stored": false, "default": { "buy": "450", "sell": "433" } });
    let plugin = Spread::build(serde_json::from_value(config).unwrap(), &env("spread", &[])).unwrap();
    let (inbox, ctx) = (host.inbox(&plugin.interests()), host.context("spread"));
    let last = rate(RATES).value.bid();
    let is_last = |message: &Message| matches!(&message.payload, Payload::Quote(quote) if quote.bid == last);
    // Those that are there before it starts would be its last values, of which the newest counts alone.
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let running = tokio::spawn(Box::new(plugin).run(inbox, ctx.clone()));
        tokio::task::yield_now().await;
        let started = Instant::now();
        for rate in (1..=RATES).map(rate) {
            ctx.try_publish(&Subject::rate(rate.source, rate.pair), rate).unwrap();
        }
        host.wait_for(is_last, Duration::from_secs(20)).await;
        let elapsed = started.elapsed();
        running.abort();
        elapsed
    })
}

fn spread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spread");
    group.throughput(Throughput::Elements(RATES.into())).sample_size(20);
    group.bench_function("rate to quote", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| run()).sum());
    });
    group.finish();
}

criterion_group!(benches, spread);
criterion_main!(benches);
