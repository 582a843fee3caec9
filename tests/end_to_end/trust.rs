//! What others write to the broker, and who is let in there.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use ratebus_test_servers::{Broker, BrokerKind, BrokerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use crate::harness::{Admin, Cluster, Launch, Outsider, Plan, eventually};

const RATES: &str = "rates.kraken.BTC_USD";
const QUOTES: &str = "quotes.BTC_USD";
const CHANGES: &str = "changes.spreads";
/// How old a message may be.
const LATE: Duration = Duration::from_secs(5);

over_each_broker!(
    what_others_write_reaches_nobody,
    behind_tls_and_a_password_everything_goes_on,
    a_wrong_password_is_named
);

async fn what_others_write_reaches_nobody(kind: BrokerKind) {
    let folder = tempfile::tempdir().unwrap();
    let keys_file = keys_in(&folder);
    let cluster = Cluster::start(Plan { keys_file: Some(&keys_file), ..Plan::new(kind) }).await;
    let outsider = Outsider::connect(kind, &cluster.broker.url()).await;

    let admin = Admin::login(&cluster.apis[0]).await;
    let mut captured = Vec::new();
    for subject in [CHANGES, RATES, QUOTES] {
        captured.push((subject, no_news(&cluster, &outsider, &admin, subject).await));
    }
    let captured_at = Instant::now();

    for (subject, text) in &captured {
        for (other, reason) in forged(text) {
            refused(&cluster, &outsider, (subject, &other), reason).await;
        }
        let another = if *subject == RATES { "rates.kraken.ETH_USD" } else { "quotes.ETH_USD" };
        refused(&cluster, &outsider, (another, text.as_bytes()), "wrong_code").await;
    }
    sleep_until(captured_at + LATE + Duration::from_secs(1)).await;
    for (subject, text) in &captured {
        refused(&cluster, &outsider, (subject, text.as_bytes()), "late").await;
    }
    cluster.all_go_on().await;
    cluster.check();
}

/// Writes something, and waits until both `user-api` have refused it for this reason.
async fn refused(cluster: &Cluster, outsider: &Outsider, (subject, text): (&str, &[u8]), reason: &str) {
    let before = counted(cluster, "ratebus_link_refused_total", reason).await;
    outsider.publish(subject, text).await;
    eventually(&format!("{subject} to be refused: {reason}"), || async {
        let now = counted(cluster, "ratebus_link_refused_total", reason).await;
        now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
    })
    .await;
    cluster.check();
}

/// Writes again what was heard on a subject just now, until that is found to be no news, and returns it. One that was
/// heard as two processes agreed on who speaks may be dropped as the words of a past turn, or the other way round: then
/// the next is tried. Whoever said it drops it too, as an echo.
async fn no_news(cluster: &Cluster, outsider: &Outsider, admin: &Admin, subject: &str) -> String {
    let sum = async || counted(cluster, "ratebus_link_dropped_total", "not_newer").await.iter().sum::<u64>();
    let text = eventually(&format!("{subject} to be no news"), || async {
        let mut ear = outsider.listen(subject).await;
        if subject == CHANGES {
            admin.set_spread("BTC_USD", "0.07", "0.07").await;
        }
        let text = ear.next().await;
        let before = sum().await;
        outsider.publish(subject, text.as_bytes()).await;
        let counted_by = Instant::now() + Duration::from_secs(2);
        while Instant::now() < counted_by {
            if sum().await > before {
                return Some(text);
            }
        }
        None
    })
    .await;
    cluster.check();
    text
}

async fn counted(cluster: &Cluster, metric: &str, reason: &str) -> Vec<u64> {
    let mut counted = Vec::new();
    for api in &cluster.apis {
        counted.push(api.metric_of(metric, reason).await);
    }
    counted
}

/// What somebody can make of a message without its key, and why it is refused.
fn forged(text: &str) -> Vec<(Vec<u8>, &'static str)> {
    let message: Value = serde_json::from_str(text).unwrap();
    let altered = |member: &str, value: Value| {
        let mut altered = message.clone();
        altered[member] = value;
        altered.to_string().into_bytes()
    };
    let (_, code) = message["mac"].as_str().unwrap().split_once(':').unwrap();
    // One bit of the body: two is three.
    let flipped = text.rsplit_once('2').map(|(before, after)| format!("{before}3{after}")).unwrap();
    let unsigned = message["body"].to_string().replace(":\"2", ":\"3");
    vec![
        (flipped.into_bytes(), "wrong_code"),
        (altered("mac", json!(format!("00000000:{code}"))), "unknown_key"),
        (altered("mac", json!(code)), "wrong_code"),
        (format!("{{\"v\":1,\"body\":{unsigned}}}").into_bytes(), "unsigned"),
        (altered("v", json!(2)), "version"),
        (text.as_bytes()[..text.len() / 2].to_vec(), "malformed"),
        (vec![0xff; 3], "malformed"),
    ]
}

async fn behind_tls_and_a_password_everything_goes_on(kind: BrokerKind) {
    let folder = tempfile::tempdir().unwrap();
    let keys_file = keys_in(&folder);
    let options = BrokerOptions { password: Some("correct horse"), tls: true };
    let cluster = Cluster::start(Plan { options, keys_file: Some(&keys_file), ..Plan::new(kind) }).await;
    cluster.all_go_on().await;
    cluster.check();
}

async fn a_wrong_password_is_named(kind: BrokerKind) {
    let broker = Broker::start(kind, BrokerOptions { password: Some("correct horse"), ..BrokerOptions::default() });
    let backend = if kind == BrokerKind::Redis { "redis" } else { "nats" };
    let launch = Launch::new().set(&format!("bus.backend={backend}")).arg("--role").arg("user-api");
    let launch = launch.variable("RATEBUS_BUS__URL", &broker.url_with(Some("wrongbattery")));
    let ratebus = launch.start().await;
    let url = format!("{}/health", ratebus.url("metrics"));
    let bus = eventually("the bus to be degraded", || async {
        let health: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
        Some(health.to_string()).filter(|health| health.contains("degraded"))
    })
    .await;
    let reason = bus.to_lowercase();
    assert!(reason.contains("auth") || reason.contains("password"), "{bus}");
    assert!(!bus.contains("wrongbattery") && ratebus.log_lines("wrongbattery").is_empty(), "{bus}");
    assert_eq!(reqwest::get(format!("{}/readyz", ratebus.url("user-api"))).await.unwrap().status(), 503);
}

fn keys_in(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("bus.key");
    fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}
