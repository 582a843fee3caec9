//! Processes that work together know of each other.

use std::collections::BTreeMap;

use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use serde_json::Value;

use crate::harness::{Launch, Ratebus, eventually, silence, started};

over_each_broker!(each_process_knows_how_the_others_are);

async fn each_process_knows_how_the_others_are(kind: BrokerKind) {
    let broker = Broker::start(kind, BrokerOptions::default());
    let exchange = started().await;
    let backend = if kind == BrokerKind::Redis { "redis" } else { "nats" };
    let launch = Launch::new().exchange(&exchange.url()).set(&format!("bus.backend={backend}"));
    let launch = launch.variable("RATEBUS_BUS__URL", &broker.url());
    let role = |name: &str| launch.clone().arg("--role").arg(name);
    let (publisher, api) = (role("exchange-rate").start().await, role("user-api").start().await);
    for process in [&publisher, &api] {
        states(process, &[("exchange-rate", "ready"), ("user-api", "ready")]).await;
    }
    let mut seen = instances(&api).await.remove(0);
    let (age, since) = (seen["heardMsAgo"].take(), seen["since"].take());
    assert!(age.is_u64() && since.as_str().is_some_and(|since| since.ends_with('Z')), "{age} {since}");
    assert_eq!((&seen["role"], &seen["version"]), (&"exchange-rate".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(!seen["host"].as_str().unwrap().is_empty() && seen["reasons"] == Value::Array(Vec::new()), "{seen}");

    silence(&exchange);
    states(&api, &[("exchange-rate", "not_ready"), ("user-api", "not_ready")]).await;
    let seen = instances(&api).await.remove(0);
    assert!(seen["reasons"].as_array().unwrap().iter().any(|trouble| trouble["plugin"] == "kraken"), "{seen}");

    // One that stops says so, and is not missed; one that is killed is.
    let third = role("exchange-rate").start().await;
    eventually("the third to be heard", async || (instances(&api).await.len() == 3).then_some(())).await;
    third.stop().await;
    publisher.kill().await;
    states(&api, &[("exchange-rate", "silent"), ("user-api", "not_ready")]).await;
    // The gauge is set once a second.
    eventually("the gauge", async || (api.metric_of("ratebus_instances", "silent").await == 1).then_some(())).await;
}

async fn instances(ratebus: &Ratebus) -> Vec<Value> {
    let health: Value = reqwest::get(format!("{}/health", ratebus.url("metrics"))).await.unwrap().json().await.unwrap();
    health["instances"].as_array().unwrap().clone()
}

/// Waits until a process knows of one process of each role, and of its state.
async fn states(ratebus: &Ratebus, expected: &[(&str, &str)]) {
    let expected: BTreeMap<&str, &str> = expected.iter().copied().collect();
    eventually(&format!("{expected:?}"), async || {
        let instances = instances(ratebus).await;
        let text = |one: &Value, member: &str| one[member].as_str().unwrap().to_owned();
        let found: Vec<(String, String)> =
            instances.iter().map(|one| (text(one, "role"), text(one, "state"))).collect();
        let same = found.len() == expected.len()
            && found.iter().all(|(role, state)| expected.get(role.as_str()) == Some(&state.as_str()));
        same.then_some(())
    })
    .await;
}
