//! Brokers that let not everybody in, and links that do not trust every broker.

use super::*;

const PASSWORD: &str = "correct horse@battery/1";

pub(crate) async fn only_who_knows_the_password_gets_in(kind: BrokerKind) {
    let broker = Broker::start(kind, BrokerOptions { password: Some(PASSWORD), ..BrokerOptions::default() });
    for wrong in [Some("wrong horse@battery/1"), None] {
        let reason = refused(target(kind, &broker.url_with(wrong), None)).await.to_lowercase();
        assert!(["auth", "password"].iter().any(|word| reason.contains(word)), "{reason}");
        assert!(!reason.contains("horse"), "{reason}");
    }
    passes(&target(kind, &broker.url(), None)).await;
}

pub(crate) async fn a_broker_with_tls_proves_itself(kind: BrokerKind) {
    let options = BrokerOptions { password: Some(PASSWORD), tls: true };
    let (broker, other) = (Broker::start(kind, options), Broker::start(kind, options));
    let [right, wrong] = [&broker, &other].map(|broker| Authorities::read(&broker.ca_file()).unwrap());
    for authorities in [Some(&wrong), None] {
        let reason = refused(target(kind, &broker.url(), authorities)).await.to_lowercase();
        assert!(reason.contains("certificate"), "{reason}");
        assert!(!reason.contains(PASSWORD), "{reason}");
    }
    passes(&target(kind, &broker.url(), Some(&right))).await;
}

pub(crate) async fn who_may_not_publish_is_told(kind: BrokerKind) {
    let broker = Broker::start_read_only(kind);
    let reason = refused(target(kind, &broker.url(), None)).await.to_lowercase();
    assert!(reason.contains("permissions violation for publish") || reason.contains("unknown command"), "{reason}");
}

/// Why a process that has something to say cannot join.
async fn refused(target: Target) -> String {
    let process = Process::start(target);
    process.rate(100);
    let mut reason = String::new();
    eventually("a refusal", || match process.health.state() {
        HealthState::Degraded(why) => {
            reason = why;
            true
        }
        _ => false,
    })
    .await;
    process.stop().await;
    reason
}

/// Two processes join and hear each other.
async fn passes(target: &Target) {
    let (exchange, reader) = (Process::start(target.clone()), Process::start(target.clone()));
    exchange.rate(100);
    assert_eq!(ask(&mut reader.subscribe("rates.>")).await, 100);
    for process in [exchange, reader] {
        process.stop().await;
    }
}

pub(crate) async fn who_signs_with_another_key_is_served_nothing(kind: BrokerKind) {
    let broker = start(kind);
    let join = |key: &[u8]| Process::start_with(target(kind, &broker.url(), None), key, &["events.>"]);
    let stranger = join(&[b'x'; 32]);
    let mut strange = stranger.member("events.x", "group");
    stranger.ready().await;
    let (one, two) = (join(KEY), join(KEY));
    let mut members = [two.member("events.x", "group")];
    all_served(&one, "events.x", &mut members).await;
    // For longer than a second, after which the stranger has asked again.
    for number in FIRST..FIRST + 30 {
        one.say("events.x", number);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.say("events.x", END);
    assert!(until_end(&mut members[0]).await.into_iter().eq(FIRST..FIRST + 30));
    assert!(strange.try_recv().is_none());
    for process in [one, two, stranger] {
        process.stop().await;
    }
}
