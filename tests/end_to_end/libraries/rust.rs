//! Plugins in Rust, as a library.

use std::fs;

use serde_json::Value;

use super::{Bench, in_state, output, serves};
use crate::harness::{eventually, quote_over_http};

#[tokio::test]
async fn a_source_in_rust_is_the_same_as_a_library() {
    let mut bench = Bench::new();
    let sha256 = bench.copy_rust();
    let config = r#",config={pairs=["BTC_USD","ETH_USD"],price="20000.10"}"#;
    bench.library("steady", "source/steady", "librust.so", &sha256, config);
    let (code, out) = output(bench.launch(), &["plugins"]).await;
    let lists = out.lines().any(|line| line.starts_with("source/steady") && line.contains("librust.so"));
    assert_eq!((code, lists), (Some(0), true), "{out}");
    for (set, expected) in [
        ("pears=[]", "plugin.steady.config.pears: unknown field `pears`"),
        ("pairs=[\"BTC_USD\",\"BTCUSD\"]", "plugin.steady.config.pairs.1: \"BTCUSD\" is not a pair"),
        ("pairs=[]", "plugin.steady.config.pairs: at least one pair is needed"),
    ] {
        let (code, out) = output(bench.launch().set(&format!("plugin.steady.config.{set}")), &["check"]).await;
        assert_eq!((code, out.contains(expected)), (Some(78), true), "{set}: {out}");
    }

    let ratebus = bench.launch().start().await;
    ratebus.ready("exchange-rate").await;
    let url = ratebus.url("exchange-rate");
    for pair in ["BTC_USD", "ETH_USD"] {
        serves(&ratebus, pair).await;
        let rate = quote_over_http(&url, pair).await;
        let original = (&rate["original"]["buy"], &rate["original"]["sell"]);
        assert_eq!(original, (&"20000.11".into(), &"20000.10".into()), "{rate}");
        assert_eq!((&rate["source"], &rate["status"]), (&"steady".into(), &"fresh".into()), "{rate}");
    }
    let line = ratebus.logged("steady goes on").await;
    assert!(line.contains("\"plugin\":\"steady\"") && line.contains("pairs=2"), "{line}");
    // Its heartbeats cross, too.
    let feed_age = async || quote_over_http(&url, "BTC_USD").await["feedAgeMs"].as_u64().unwrap();
    let age = async || quote_over_http(&url, "BTC_USD").await["ageMs"].as_u64().unwrap();
    eventually("a heartbeat", || async { (age().await > 300 && feed_age().await < 300).then_some(()) }).await;
    ratebus.signal("TERM");
    assert_eq!(ratebus.exited().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_panic_in_a_library_stays_in_its_instance() {
    let mut bench = Bench::new();
    let sha256 = bench.copy_rust();
    for how in ["no", "panic_in_build", "panic", "fail", "impersonate"] {
        let config = format!(r#",config={{pairs=["BTC_USD"],price="20000.10",misbehave="{how}"}}"#);
        bench.library(how, "source/steady", "librust.so", &sha256, &config);
    }
    let ratebus = bench.launch().start().await;
    serves(&ratebus, "BTC_USD").await;
    assert_eq!(in_state(&ratebus, "panic_in_build", "failed").await, "refused (panics): `create` panicked: not built");
    assert_eq!(in_state(&ratebus, "panic", "failed").await, "panicked: by request");
    assert_eq!(ratebus.metric_of("ratebus_plugin_failures_total", "plugin=\"panic\"").await, 3);
    assert_eq!(in_state(&ratebus, "fail", "failed").await, "it cannot work");
    in_state(&ratebus, "impersonate", "ready").await;
    let rate = quote_over_http(&ratebus.url("exchange-rate"), "BTC_USD").await;
    assert_ne!(rate["source"], "another");
    in_state(&ratebus, "no", "ready").await;
    ratebus.signal("TERM");
    assert_eq!(ratebus.exited().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_library_that_blocks_its_threads_does_not_keep_the_rest_from_stopping() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let sha256 = bench.copy_rust();
    let config = r#",config={pairs=["ETH_USD"],price="1500",misbehave="block"}"#;
    bench.library("block", "source/steady", "librust.so", &sha256, config);
    let ratebus = bench.launch().set("runtime.shutdown_grace=2s").start().await;
    in_state(&ratebus, "block", "ready").await;
    serves(&ratebus, "BTC_USD").await;
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(1), "{log:?}");
    assert!(log.iter().any(|line| line.contains("a plugin does not stop") && line.contains("block")), "{log:?}");
}

#[tokio::test]
async fn a_sink_in_a_library_hears_rates_and_quotes() {
    let mut bench = Bench::new();
    let sha256 = bench.copy_rust();
    let config = r#",config={pairs=["BTC_USD"],price="20000.10"}"#;
    bench.library("steady", "source/steady", "librust.so", &sha256, config);
    bench.plugin("quoter", r#"use="sink/spread",config={stored=false,default={buy="1",sell="1"}}"#);
    let file = bench.path("heard");
    let config = format!(r#",config={{file="{}",patterns=["rates.>","quotes.*","pairs.steady"]}}"#, file.display());
    bench.library("recorder", "sink/recorder", "librust.so", &sha256, &config);
    let ratebus = bench.launch().start().await;
    ratebus.ready("exchange-rate").await;
    let heard = async |subject: &str| {
        eventually(subject, || async {
            let text = fs::read_to_string(&file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{subject} ")))?.to_owned();
            serde_json::from_str::<Value>(&line).ok()
        })
        .await
    };
    let rate = heard("rates.steady.BTC_USD").await;
    assert_eq!((&rate["rate"]["bid"], &rate["rate"]["ask"]), (&"20000.10".into(), &"20000.11".into()), "{rate}");
    assert_eq!((&rate["rate"]["source"], &rate["rate"]["market"]), (&"steady".into(), &"online".into()), "{rate}");
    let quote = heard("quotes.BTC_USD").await;
    assert!(quote.to_string().contains("\"20001.11\"") && quote.to_string().contains("\"19999.10\""), "{quote}");
    // Before the list with the pair subscribed, a sink may hear the one of before: last values are kept.
    eventually("the pair is subscribed", || async {
        let text = fs::read_to_string(&file).ok()?;
        text.lines().any(|line| line.starts_with("pairs.steady ") && line.contains("subscribed")).then_some(())
    })
    .await;
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
}
