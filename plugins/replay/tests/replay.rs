//! The built-in recording, and recordings as a source of rates.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

#[path = "../examples/record/generate.rs"]
mod generate;

use std::{collections::HashMap, io::Write, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ratebus_kraken::DECODER;
use ratebus_model::{Limits, Pair, Rate, Status, Timestamp};
use ratebus_replay::{Replay, ReplayConfig};
use ratebus_sdk::{
    ConfigError, Context, Factory, HealthState, Source,
    testkit::{RecordingHost, env, eventually},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

const DEADLINE: Duration = Duration::from_secs(20);
const COMMITTED: &str = include_str!("../recordings/kraken-demo.jsonl");
const PAIRS: [&str; 5] = ["BTC_USD", "ETH_USD", "SOL_USD", "EUR_USD", "DOGE_USD"];

fn build(config: Value) -> Result<Replay, ConfigError> {
    let config: ReplayConfig = serde_json::from_value(config).unwrap();
    let mut env = env("replay", &[]);
    env.decoders = &[DECODER, ratebus_binance::DECODER];
    Replay::build(config, &env)
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Metrics of this test alone: its runtime has one thread.
fn record_metrics() -> (PrometheusHandle, metrics::LocalRecorderGuard<'static>) {
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    (recorder.handle(), metrics::set_default_local_recorder(recorder))
}

fn finished(ctx: &Context) -> bool {
    ctx.health().state() == HealthState::Finished
}

#[test]
fn the_committed_recording_is_the_generators() {
    assert!(generate::recording(7, 60) == COMMITTED, "make it anew as recordings/README.md says");
    assert!(COMMITTED.len() < 200_000);
    let updates = COMMITTED.lines().filter(|line| line.contains(r#"\"type\":\"update\""#)).count();
    assert!((120..=240).contains(&updates), "{updates} in a minute");
}

#[tokio::test]
async fn every_price_of_the_builtin_recording_is_taken() {
    let (metrics, _guard) = record_metrics();
    let host = RecordingHost::new();
    let ctx = host.context("replay");
    let config = json!({"file": "builtin:kraken", "pairs": PAIRS, "speed_percent": 0, "loop": false});
    Box::new(build(config).unwrap()).run(ctx.clone()).await.unwrap();
    assert!(finished(&ctx));
    let rendered = metrics.render();
    assert!(!rendered.contains("ratebus_ticks_refused_total"), "{rendered}");
    let ticks = COMMITTED.lines().filter(|line| line.contains(r#"\"channel\":\"ticker\",\"type\""#)).count();
    assert!(rendered.contains(&format!("ratebus_ticks_total{{source=\"replay\"}} {ticks}")), "{rendered}");
    let bids = PAIRS.map(|pair| host.rate("replay", pair.parse().unwrap()).unwrap().value.bid().to_string());
    assert_eq!(bids, ["81413.2", "3001.45", "148.72", "1.08412", "0.1924310"]);
}

#[tokio::test]
async fn a_repeated_recording_neither_jumps_nor_steps_back() {
    let (metrics, _guard) = record_metrics();
    let recording = file(&generate::recording(3, 4));
    let host = RecordingHost::new();
    let ctx = host.context("replay");
    let config = json!({"file": recording.path(), "pairs": PAIRS, "speed_percent": 2000, "loop": true});
    let task = tokio::spawn(Box::new(build(config).unwrap()).run(ctx.clone()));
    let firsts = |host: &RecordingHost| {
        let bitcoin = "BTC_USD".parse::<Pair>().unwrap();
        let first = |rate: &Arc<Rate>| rate.pair == bitcoin && rate.value.bid().to_string() == "81413.2";
        let mut versions: Vec<u64> = host.rates().iter().filter(|r| first(r)).map(|r| r.version.sequence).collect();
        versions.dedup();
        versions.len()
    };
    eventually("three rounds", DEADLINE, || firsts(&host) >= 3).await;
    ctx.cancel_token().cancel();
    task.await.unwrap().unwrap();
    assert_eq!(ctx.health().state(), HealthState::Ready);
    assert!(!metrics.render().contains("ratebus_ticks_refused_total"), "{}", metrics.render());
    let mut last: HashMap<Pair, (u64, Option<Timestamp>)> = HashMap::new();
    for rate in host.rates() {
        let now = (rate.version.sequence, rate.event_time);
        assert!(now.1.is_some(), "{rate:?}");
        // Shifted to now: at 20 times the speed, the 300 ms before the start are 15.
        let (event, received) = (rate.event_time.unwrap().micros(), rate.recv_time.micros());
        assert!((-1_000_000..=1_000_000).contains(&(event - received)), "{rate:?}");
        let before = last.insert(rate.pair, now).unwrap_or((0, None));
        assert!(now >= before, "{before:?} {now:?}");
    }
}

/// What every plugin must do.
mod conformance {
    use ratebus_conformance::{Plugin, plugin_suite};

    use super::*;

    fn plugin() -> Plugin {
        let mut env = env("replay", &[]);
        env.decoders = &[DECODER];
        Plugin::new(|_| json!({"file": "builtin:kraken", "pairs": PAIRS, "speed_percent": 2000})).in_env(env)
    }

    plugin_suite!(source Replay, plugin());
}

/// Binance orders its frames by numbers that begin again with each round, as they may with each connection.
#[tokio::test]
async fn another_exchanges_frames_are_played_again_and_again() {
    let header = r#"{"recording":"ratebus/1","exchange":"binance","started":"2026-01-01T00:00:00Z"}"#;
    let line = |at: u64, update: u64, bid: &str| {
        let data = format!(r#"{{"u":{update},"s":"BTCUSDT","b":"{bid}","B":"1","a":"82000.00","A":"1"}}"#);
        json!({"at_ms": at, "frame": format!(r#"{{"stream":"btcusdt@bookTicker","data":{data}}}"#)})
    };
    let recording = file(&format!("{header}\n{}\n{}\n", line(0, 7, "81413.20"), line(20, 8, "81414.00")));
    let host = RecordingHost::new();
    let ctx = host.context("replay");
    let config = json!({"file": recording.path(), "exchange": "binance", "pairs": ["BTC_USDT"], "loop": true});
    let task = tokio::spawn(Box::new(build(config).unwrap()).run(ctx.clone()));
    let firsts = || host.rates().iter().filter(|rate| rate.value.bid().to_string() == "81413.20").count();
    eventually("three rounds", DEADLINE, || firsts() >= 3).await;
    ctx.cancel_token().cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_end_rates_are_left_to_age() {
    let recording = file(&generate::recording(3, 4));
    let host = RecordingHost::new();
    let ctx = host.context("replay");
    let start = ctx.clock().now();
    let config = json!({"file": recording.path(), "pairs": ["BTC_USD"], "speed_percent": 50});
    Box::new(build(config).unwrap()).run(ctx.clone()).await.unwrap();
    let end = ctx.clock().now();
    assert_eq!((end - start).as_secs(), 8);
    let rate = host.rate("replay", "BTC_USD".parse().unwrap()).unwrap();
    let Limits { stale_after, dead_after } = Limits::STREAM;
    let second = Duration::from_secs(1);
    assert_eq!(rate.status(end), Status::Fresh);
    assert_eq!(rate.status(end + stale_after + second), Status::Stale);
    assert_eq!(rate.status(end + dead_after + second), Status::Dead);
}

#[tokio::test]
async fn frames_that_cannot_be_read_do_not_end_a_replay() {
    let header = r#"{"recording":"ratebus/1","exchange":"kraken","started":"2026-01-01T00:00:00Z"}"#;
    let tick = r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":1.10,"ask":1.20}]}"#;
    let lines = [json!({"at_ms": 0, "frame": "nonsense"}), json!({"at_ms": 0, "frame": tick})];
    let recording = file(&format!("{header}\n{}\n{}\n", lines[0], lines[1]));
    let host = RecordingHost::new();
    let ctx = host.context("replay");
    let config = json!({"file": recording.path(), "pairs": ["BTC_USD"]});
    Box::new(build(config).unwrap()).run(ctx.clone()).await.unwrap();
    assert_eq!(host.rate("replay", "BTC_USD".parse().unwrap()).unwrap().value.bid().to_string(), "1.10");
    let at_once = json!({"file": recording.path(), "pairs": ["BTC_USD"], "loop": true});
    assert_eq!(build(at_once).err().unwrap().problems[0].key, "loop");
}

#[test]
fn all_problems_are_told_at_once() {
    let config = json!({
        "file": "/nonexistent.jsonl", "exchange": "other", "pairs": ["BTC_USD", "x"], "stale_after": "60s",
    });
    let problems = build(config).err().unwrap().problems;
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["pairs.1", "stale_after", "file", "exchange"]);
}
