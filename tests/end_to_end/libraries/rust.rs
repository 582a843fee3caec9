//! Plugins in Rust, as a library.

use std::fs;

use serde_json::Value;

use super::{Bench, SHIPPED, in_state, output, serves};
use crate::harness::{Admin, eventually, quote_over_http};

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
        ("pears=[]", "plugin.steady.config.pears: unknown key; expected one of: pairs, "),
        ("pairs=[\"BTC_USD\",\"BTCUSD\"]", "plugin.steady.config.pairs.1: \"BTCUSD\" is not a pair"),
        ("pairs=[]", "plugin.steady.config.pairs: at least one pair is needed"),
    ] {
        let (code, out) = output(bench.launch().set(&format!("plugin.steady.config.{set}")), &["check"]).await;
        assert_eq!((code, out.contains(expected)), (Some(78), true), "{set}: {out}");
    }

    let several = ["pears=[]", "burst=\"many\"", "price=\"cheap\""];
    let several = several.iter().fold(bench.launch(), |launch, set| launch.set(&format!("plugin.steady.config.{set}")));
    let (_, out) = output(several, &["check"]).await;
    for key in ["pears", "burst", "price"] {
        assert!(out.contains(&format!("plugin.steady.config.{key}: ")), "{key}: {out}");
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
    eventually("a tick of each pair to be counted", || async {
        let label = "plugin=\"steady\",name=\"ticks_total\"";
        (ratebus.metric_of("ratebus_library_counts_total", label).await == 2).then_some(())
    })
    .await;
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
async fn a_sink_in_a_library_hears_everything_and_what_was_said_before_it_came() {
    let mut bench = Bench::new();
    let sha256 = bench.copy_rust();
    let file = bench.path("heard");
    let config = r#"{pairs=["BTC_USD"],price="20000.10"}"#;
    let steady = format!("use=\"source/steady\",library=\"librust.so\",sha256=\"{sha256}\",config={config}");
    let recorder = format!(
        "[plugin.recorder]\nuse = \"sink/recorder\"\nlibrary = \"librust.so\"\nsha256 = \"{sha256}\"\n\
         config = {{ file = {file:?}, patterns = [\"rates.>\", \"quotes.*\", \"spreads.*\", \"pairs.*\", \"health.*\"] }}\n"
    );
    bench.plugin("steady", &steady);
    let launch = bench.launch.clone();
    Admin::create(&launch).await;
    let write = |plugins: &str| {
        let role = "[role.test]\nplugins = [\"steady\", \"spread\", \"api\"";
        let text = SHIPPED.replace("role = \"all\"", "role = \"test\"");
        fs::write(launch.folder().join("plugins.toml"), format!("{text}\n{role}{plugins}]\n{recorder}")).unwrap();
    };
    write("");
    let ratebus = launch.clone().set("runtime.role=test").start().await;
    ratebus.ready("user-api").await;
    Admin::login(&ratebus).await.set_spread("BTC_USD", "1", "1").await;
    write(", \"recorder\"");
    ratebus.signal("HUP");

    let heard = async |subject: &str, text: &str| {
        eventually(subject, || async {
            let heard = fs::read_to_string(&file).ok()?;
            let mut lines = heard.lines().filter(|line| line.starts_with(subject));
            let line = lines.find(|line| line.contains(text))?.split_once(' ')?.1.to_owned();
            serde_json::from_str::<Value>(&line).ok()
        })
        .await
    };
    let rate = heard("rates.steady.BTC_USD ", "20000.10").await;
    assert_eq!((&rate["rate"]["bid"], &rate["rate"]["ask"]), (&"20000.10".into(), &"20000.11".into()), "{rate}");
    assert_eq!((&rate["rate"]["source"], &rate["rate"]["market"]), (&"steady".into(), &"online".into()), "{rate}");
    let quote = heard("quotes.BTC_USD ", "20001.11").await;
    assert!(quote["quote"].to_string().contains("\"19999.10\""), "{quote}");
    // Nobody has said these again since.
    let spread = heard("spreads.BTC_USD ", "BTC_USD").await;
    assert!(spread["spread"].is_object(), "{spread}");
    assert!(heard("pairs.steady ", "subscribed").await["pairs"].is_object());
    let health = heard("health.", "role").await;
    let health: Value = serde_json::from_str(health["text"].as_str().unwrap()).unwrap();
    assert_eq!(health["role"], "test", "{health}");
    ratebus.stop().await;
}

#[tokio::test]
async fn a_source_in_a_library_has_the_tables_of_pairs_and_is_made_anew_when_they_change() {
    let bench = Bench::new();
    let sha256 = bench.copy_rust();
    let launch = bench.launch.clone().set(r#"role.all.plugins=["rates-http","steady"]"#);
    let write = |tables: &str| {
        let steady = format!(
            "[plugin.steady]\nuse = \"source/steady\"\nlibrary = \"librust.so\"\nsha256 = \"{sha256}\"\n\
             config = {{ price = \"20000.10\" }}\n"
        );
        fs::write(launch.folder().join("plugins.toml"), format!("{SHIPPED}\n{steady}{tables}")).unwrap();
    };
    write("[pairs.AAA_USD]\n");
    let ratebus = launch.start().await;
    serves(&ratebus, "AAA_USD").await;
    write("[pairs.AAA_USD]\n[pairs.BBB_USD]\nprice_step = \"0.5\"\nreturn_after = \"5s\"\n");
    ratebus.signal("HUP");
    serves(&ratebus, "BBB_USD").await;
    write("[pairs.BBB_USD]\n");
    ratebus.signal("HUP");
    // At once, and not when its price is dead.
    let url = format!("{}/v1/rates/AAA_USD", ratebus.url("exchange-rate"));
    eventually("the end of a pair", || async { (reqwest::get(&url).await.ok()?.status() == 404).then_some(()) }).await;
    serves(&ratebus, "BBB_USD").await;
    ratebus.stop().await;
}
