//! What the boundary costs: rates of one plugin, from a shared library and built in.
//!
//! `cargo bench -p ratebus-core --bench library`. Each iteration is a rate, published when there is room for it, until it
//! is on the bus of the tests. Making and destroying the instance is in it, once for all iterations of a sample.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ratebus_core::{
    Component, Entry, Registry,
    config::{Blueprint, Config, ConfigFile},
};
use ratebus_sdk::{Source, testkit::RecordingHost};
use ratebus_test_library::Steady;

const REGISTRY: Registry = Registry::new(&[Entry::source::<Steady>("0")]);
/// So many rates in an iteration: the engine's queue holds as many.
const RATES: u64 = 1024;

/// The plugin, which is to publish so many rates.
fn plugin(library: bool, rates: u64) -> Blueprint {
    let library = if library { r#"library = "libratebus_test_library.so""# } else { "" };
    let exe = std::env::current_exe().unwrap();
    let text = format!(
        r#"
[plugins]
dir = "{}"
allow_unpinned = true
[role.all]
plugins = ["steady"]
[plugin.steady]
use = "source/steady"
{library}
config = {{ pairs = ["BTC_USD"], price = "20000.10", burst = {rates} }}
"#,
        exe.parent().unwrap().display()
    );
    let config = Config::load(ConfigFile { name: "bench".to_owned(), text }, std::iter::empty(), Vec::new()).unwrap();
    let mut plan = config.plan("all", &REGISTRY, &[]).unwrap();
    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    plan.plugins.remove(0)
}

fn run(library: bool, rates: u64) -> Duration {
    let blueprint = plugin(library, rates);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let host = RecordingHost::new();
    let ctx = host.context("steady");
    let Component::Source(source) = blueprint.build().unwrap() else { return Duration::ZERO };
    let started = Instant::now();
    runtime.block_on(Source::run(source, ctx)).unwrap();
    let elapsed = started.elapsed();
    // Before them one of the tick.
    assert!(u64::try_from(host.rates().len()).unwrap() > rates, "not all rates came through");
    elapsed
}

fn boundary(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rates");
    group.throughput(Throughput::Elements(RATES)).sample_size(20);
    for (name, library) in [("built in", false), ("from a library", true)] {
        group.bench_function(name, |bencher| bencher.iter_custom(|iterations| run(library, iterations * RATES)));
    }
    group.finish();
}

criterion_group!(benches, boundary);
criterion_main!(benches);
