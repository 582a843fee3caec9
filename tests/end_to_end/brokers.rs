//! Roles in processes of their own, several of each, joined by a broker: whatever dies, clients are told nothing wrong.

use std::time::{Duration, Instant};

use ratebus_test_servers::BrokerKind;

use crate::harness::{Admin, Cluster, Outsider, Plan, decimal, eventually, markup};

/// Within what time another takes over: as long as a price stays fresh.
const TAKEOVER: Duration = Duration::from_secs(10);

over_each_broker!(
    any_process_may_be_killed,
    the_broker_may_be_killed_and_may_stand_still,
    who_does_not_read_is_dropped_and_becomes_whole_again
);

async fn any_process_may_be_killed(kind: BrokerKind) {
    let mut cluster = Cluster::start(Plan::new(kind)).await;
    let first = cluster.heard();
    for _ in 0..2 {
        let heard = cluster.heard();
        let other = 3 - heard;
        cluster.kill_publisher(heard).await;
        let took = hear(&cluster, other).await;
        println!("{kind:?}: the other exchange-rate was heard after {took:?}");
        assert!(took < TAKEOVER, "{took:?}");
        cluster.start_publisher(heard).await;
        set_spread(&cluster, 0, "with both").await;
    }
    cluster.signal_publisher(first, "STOP");
    hear(&cluster, 3 - first).await;
    cluster.signal_publisher(first, "CONT");
    cluster.all_go_on().await;
    stand_still(|signal| cluster.apis[0].signal(signal)).await;
    cluster.all_go_on().await;
    cluster.restart_api(1).await;
    cluster.all_go_on().await;
    set_spread(&cluster, 1, "on the new one").await;
    for (number, _) in cluster.followers.iter().enumerate() {
        let (heard, turns) = (cluster.exchanges_heard(number), [first, 3 - first, first, 3 - first]);
        // Two that begin in the same moment may both have been heard before one of them gave way.
        let is_settled = heard.strip_suffix(&turns[..]).is_some_and(|before| before.len() <= 1);
        assert!(is_settled, "somebody hears both in turns: {heard:?}, and not {turns:?}");
    }
    cluster.check();
}

/// Waits until everybody hears the prices of this exchange; says how long that took.
async fn hear(cluster: &Cluster, exchange: u64) -> Duration {
    let started = Instant::now();
    for follower in &cluster.followers {
        follower.until("the other exchange", |history| history.exchanges.last() == Some(&exchange)).await;
    }
    started.elapsed()
}

/// For longer than a connection may be silent, and not so long that what is under way is too old to be looked at.
async fn stand_still(signal: impl Fn(&str)) {
    signal("STOP");
    tokio::time::sleep(Duration::from_secs(4)).await;
    signal("CONT");
}

async fn the_broker_may_be_killed_and_may_stand_still(kind: BrokerKind) {
    let limits = [Duration::from_secs(3), Duration::from_secs(6)];
    let cluster = Cluster::start(Plan { limits, ..Plan::new(kind) }).await;
    cluster.broker.kill();
    set_spread(&cluster, 0, "without the broker").await;
    for status in ["stale", "dead"] {
        for follower in &cluster.followers {
            follower.until(status, |history| history.last["status"] == status).await;
        }
    }
    cluster.broker.restart();
    println!("{kind:?}: back from empty, all were whole after {:?}", cluster.all_go_on().await);

    stand_still(|signal| cluster.broker.signal(signal)).await;
    println!("{kind:?}: back from standing still, all were whole after {:?}", cluster.all_go_on().await);
    // What was under way is sorted out, and everybody hears one.
    cluster.all_go_on().await;

    let heard = cluster.heard();
    cluster.silence(heard);
    println!("{kind:?}: the other exchange was heard after {:?}", hear(&cluster, 3 - heard).await);
    for (number, follower) in cluster.followers.iter().enumerate() {
        follower.until("a fresh price", |history| history.last["status"] == "fresh").await;
        // Each of the three faults may change who is heard, and two who begin at once may both be heard for a moment.
        let heard = cluster.exchanges_heard(number);
        assert!(heard.len() <= 6, "nobody hears both in turns: {heard:?}");
    }
    cluster.check();
}

/// A broker keeps only so much for a process that does not read: 64 MB at NATS, 32 MB at Redis, and what the kernel holds.
async fn who_does_not_read_is_dropped_and_becomes_whole_again(kind: BrokerKind) {
    let cluster = Cluster::start(Plan::new(kind)).await;
    let outsider = Outsider::connect(kind, &cluster.broker.url()).await;
    let dropped = match kind {
        BrokerKind::Redis => "for overcoming of output buffer limits",
        BrokerKind::Nats => "Slow Consumer Detected",
    };
    let large = vec![b'x'; 1 << 20];
    cluster.apis[0].signal("STOP");
    eventually("the broker to drop it", || async {
        outsider.publish("rates.large", &large).await;
        cluster.broker.log().contains(dropped).then_some(())
    })
    .await;
    cluster.apis[0].signal("CONT");
    eventually("the loss to be noticed", || async {
        (cluster.apis[0].metric("ratebus_link_failures_total").await > 0).then_some(())
    })
    .await;
    println!("{kind:?}: dropped, all were whole after {:?}", cluster.all_go_on().await);
    set_spread(&cluster, 1, "after the loss").await;
    cluster.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_drop_everybody_and_may_be_full() {
    let mut cluster = Cluster::start(Plan::new(BrokerKind::Redis)).await;
    cluster.broker.redis_command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    all_were_dropped(&cluster, 1).await;
    // Whoever cannot take a message as a whole is dropped.
    cluster.broker.redis_command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 1 0"]);
    cluster.broker.redis_command(&["PUBLISH", "rates.large", &"x".repeat(100_000)]);
    cluster.broker.redis_command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    all_were_dropped(&cluster, 2).await;

    cluster.broker.redis_command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    eventually("values that are not kept", || async {
        let mut not_kept = 0;
        for publisher in cluster.publishers() {
            not_kept += publisher.metric("ratebus_link_not_kept_total").await;
        }
        (not_kept > 0).then_some(())
    })
    .await;
    cluster.all_go_on().await;
    cluster.restart_api(0).await;
    cluster.all_go_on().await;
    cluster.check();
}

/// Waits until every process has noticed so many times that it was dropped, and everybody is whole again.
async fn all_were_dropped(cluster: &Cluster, times: u64) {
    for process in cluster.publishers().chain(&cluster.apis) {
        eventually("the loss to be noticed", || async {
            (process.metric("ratebus_link_failures_total").await >= times).then_some(())
        })
        .await;
    }
    println!("dropped, all were whole after {:?}", cluster.all_go_on().await);
}

/// Sets a new spread of a pair at one `user-api`, and waits until the clients of both have it.
async fn set_spread(cluster: &Cluster, at: usize, when: &str) {
    let admin = Admin::login(&cluster.apis[at]).await;
    let last = |number: usize| cluster.followers[number].read("BTC_USD", |history| history.last.clone());
    let revision = last(0).map_or(0, |quote| quote["rule"]["revision"].as_u64().unwrap_or_default()) + 1;
    let cents = decimal(markup(revision));
    admin.set_spread("BTC_USD", &cents, &cents).await;
    let set = Instant::now();
    for (number, _) in cluster.followers.iter().enumerate() {
        eventually("the new spread", || async {
            (last(number)?["rule"]["revision"].as_u64()? >= revision).then_some(())
        })
        .await;
    }
    println!("a spread set {when} was with all after {:?}", set.elapsed());
}
