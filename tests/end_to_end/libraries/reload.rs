//! A library is replaced while the process runs.

use std::fs;

use super::{Bench, SHIPPED, health, in_state, serves};
use crate::harness::{Ratebus, eventually};

/// Tells the process to read its config again, and waits until it has.
async fn reload(ratebus: &Ratebus, outcome: &str) {
    let before = ratebus.metric_of("ratebus_config_reloads_total", outcome).await;
    ratebus.signal("HUP");
    eventually(&format!("a reload that is {outcome}"), || async {
        (ratebus.metric_of("ratebus_config_reloads_total", outcome).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_library_is_replaced_and_a_broken_one_is_not_taken_over() {
    let bench = Bench::new();
    let (old, wrong) = (bench.compile_example(), "0".repeat(64));
    let new = bench.compile("libnew.so", "plugins/example-c/example.c", &["-O3", "-g"]);
    assert_ne!(old, new);
    let launch = bench.launch.clone().set(r#"role.all.plugins=["rates-http","example"]"#);
    let write = |file: &str, sha256: &str| {
        let plugin =
            format!("[plugin.example]\nuse = \"source/example-c\"\nlibrary = \"{file}\"\nsha256 = \"{sha256}\"\n");
        let config = "config = { every_ms = 20 }\n";
        fs::write(launch.folder().join("plugins.toml"), format!("{SHIPPED}\n{plugin}{config}")).unwrap();
    };

    write("libexample.so", &wrong);
    let ratebus = launch.start().await;
    assert!(in_state(&ratebus, "example", "failed").await.contains("refused (wrong_hash)"));

    write("libexample.so", &old);
    reload(&ratebus, "taken_over").await;
    in_state(&ratebus, "example", "ready").await;
    ratebus.ready("exchange-rate").await;
    serves(&ratebus, "BTC_USD").await;

    write("libnew.so", &wrong);
    reload(&ratebus, "refused").await;
    assert_eq!(health(&ratebus, "example").await.0, "ready");
    assert!(ratebus.logged("everything goes on as before").await.contains("refused (wrong_hash)"));

    let hangs = bench.compile_misbehaving("libhangs.so", &["-DHANG"]);
    write("libhangs.so", &hangs);
    reload(&ratebus, "refused").await;
    assert_eq!(health(&ratebus, "example").await.0, "ready");
    ratebus.logged("plugin.example.library: refused (hangs)").await;

    write("libnew.so", &new);
    reload(&ratebus, "taken_over").await;
    eventually("both replacements in the log", || async {
        (ratebus.log_lines("taken over").iter().filter(|line| line.contains("example")).count() == 2).then_some(())
    })
    .await;
    in_state(&ratebus, "example", "ready").await;
    serves(&ratebus, "BTC_USD").await;
}
