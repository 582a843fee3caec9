//! Sources in C: one with nothing wrong, and one that does what none should.

use super::{Bench, in_state, serves};
use crate::harness::{eventually, quote_over_http};

#[tokio::test]
async fn a_source_in_c_reaches_clients() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    let config = r#",config={pair="ETH_USD",cents=150000,every_ms=20}"#;
    bench.library("example", "source/example-c", "libexample.so", &sha256, config);
    let ratebus = bench.launch().start().await;
    ratebus.ready("exchange-rate").await;
    assert!(ratebus.logged("\"event\":\"library_loaded\"").await.contains(&sha256));
    serves(&ratebus, "ETH_USD").await;
    let rate = quote_over_http(&ratebus.url("exchange-rate"), "ETH_USD").await;
    let (buy, sell) = (rate["original"]["buy"].as_str().unwrap(), rate["original"]["sell"].as_str().unwrap());
    assert!(buy.starts_with("1500.") && buy.len() == 7 && buy > sell, "{rate}");
    assert_eq!(
        (&rate["source"], &rate["status"], &rate["kind"]),
        (&"example".into(), &"fresh".into(), &"two_sided".into())
    );
    eventually("its gauge", || async {
        let label = "plugin=\"example\",name=\"every_ms\"";
        (ratebus.metric_of("ratebus_library_value", label).await == 20).then_some(())
    })
    .await;
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
}

#[tokio::test]
async fn an_instance_that_misbehaves_costs_itself_only() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let sha256 = bench.compile_misbehaving("libmisbehaving.so", &[]);
    for name in ["hang_create", "hang_start", "hang_stop", "hang_destroy", "nonsense", "fail", "slower"] {
        let config = format!(r#",config={{misbehave="{name}"}}"#);
        bench.library(name, "source/misbehaving", "libmisbehaving.so", &sha256, &config);
    }
    let ratebus = bench.launch().set("runtime.shutdown_grace=2s").start().await;
    serves(&ratebus, "BTC_USD").await;

    assert_eq!(in_state(&ratebus, "hang_create", "failed").await, "refused (hangs): `create` does not return");
    assert!(in_state(&ratebus, "hang_start", "failed").await.contains("`start` of source/misbehaving does not return"));
    assert_eq!(ratebus.metric_of("ratebus_library_calls_lost_total", "call=\"start\"").await, 1);
    // A fault of its own is forgiven twice.
    assert_eq!(in_state(&ratebus, "fail", "failed").await, "it  [31mfailed");
    assert_eq!(ratebus.metric_of("ratebus_plugin_failures_total", "plugin=\"fail\"").await, 3);

    // What the other side asked for, and no sooner.
    assert_eq!(in_state(&ratebus, "slower", "not_ready").await, "asked to wait");
    assert!(ratebus.logged("asked to wait").await.contains("\"retry_in\":\"3600s\""));

    eventually("what makes no sense to be counted", || async {
        let label = "plugin=\"nonsense\",reason=\"invalid\"";
        (ratebus.metric_of("ratebus_library_refused_total", label).await == 5).then_some(())
    })
    .await;
    eventually("the crossed price to be counted", || async {
        (ratebus.metric_of("ratebus_ticks_refused_total", "source=\"nonsense\",reason=\"crossed\"").await == 1)
            .then_some(())
    })
    .await;
    serves(&ratebus, "BTC_USD").await;

    ratebus.signal("TERM");
    let (status, _) = ratebus.exited().await;
    assert_eq!(status.code(), Some(1), "one does not stop");
}

#[tokio::test]
async fn an_instance_that_never_pauses_loses_its_own_words_only() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, r#",config={pair="ETH_USD"}"#);
    let sha256 = bench.compile_misbehaving("libmisbehaving.so", &[]);
    bench.library("spam", "source/misbehaving", "libmisbehaving.so", &sha256, r#",config={misbehave="spam"}"#);
    let ratebus = bench.launch().start().await;
    for (reason, words) in [
        ("full", "spam says events faster than they are taken"),
        ("log", "spam says more lines than are logged"),
        ("health", "spam changes its health more often than is logged"),
        ("names", "spam measures under more names than are kept"),
    ] {
        let label = format!("plugin=\"spam\",reason=\"{reason}\"");
        eventually(&label, || async {
            (ratebus.metric_of("ratebus_library_refused_total", &label).await > 100).then_some(())
        })
        .await;
        let line = ratebus.logged(words).await;
        assert!(line.contains("\"plugin\":\"spam\""), "{line}");
    }
    let names = ratebus.metric_of("ratebus_library_counts_total", "plugin=\"spam\"").await;
    assert_eq!(names, 64, "each was counted once");
    serves(&ratebus, "ETH_USD").await;
    eventually("the ticks of the other to be counted", || async {
        let label = "plugin=\"example\",name=\"ticks\"";
        (ratebus.metric_of("ratebus_library_counts_total", label).await > 0).then_some(())
    })
    .await;
    // 20 in a second, whatever it says.
    let (said, refused) = (ratebus.log_lines("\"plugin\":\"spam\"").len(), "plugin=\"spam\",reason=\"log\"");
    let refused = ratebus.metric_of("ratebus_library_refused_total", refused).await;
    assert!(u64::try_from(said).unwrap() < refused, "the log took {said} lines and refused {refused}");
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{:?}", log.last());
}

#[tokio::test]
async fn what_a_library_says_of_its_config_carries_the_keys() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_misbehaving("libmisbehaving.so", &[]);
    let config = r#",config={misbehave="refuse"}"#;
    bench.library("wrong", "source/misbehaving", "libmisbehaving.so", &sha256, config);
    let (code, out) = bench.fails().await;
    assert_eq!(code, Some(78), "{out}");
    for expected in ["plugin.wrong.config.pairs.1: is no pair", "plugin.wrong.config.colour: unknown key"] {
        assert!(out.contains(expected), "{out}");
    }
}
