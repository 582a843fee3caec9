//! Every process is replaced, one after another, while clients go on; and keys change meanwhile, as the operators' guide
//! says.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ratebus_test_servers::{Broker, BrokerKind};
use tokio::time::sleep;

use crate::harness::{Admin, Cluster, Follower, Plan, eventually, within};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";
/// For how long a process that could speak has to listen first, and some more: a pause that the guide asks for.
const PAUSE: Duration = Duration::from_secs(2);
/// Prices are stale without a word for longer.
const STALE: Duration = Duration::from_secs(10);

over_each_broker!(processes_are_replaced_and_keys_change_and_nobody_is_refused);

async fn processes_are_replaced_and_keys_change_and_nobody_is_refused(kind: BrokerKind) {
    let folder = tempfile::tempdir().unwrap();
    let keys_file = folder.path().join("bus.key");
    write(&keys_file, &[OLD]);
    let mut cluster = Cluster::start(Plan { keys_file: Some(&keys_file), ..Plan::new(kind) }).await;
    let signing_key_file: PathBuf = cluster.folder().join("jwt.key");
    let first = fs::read_to_string(&signing_key_file).unwrap().trim().to_owned();
    let second = format!("{NEW}{OLD}");
    let session = Admin::login(&cluster.apis[0]).await.token().to_owned();
    let old_names = keys_in_use(kind, &cluster.broker);

    let (bus, tokens) = ([OLD, NEW], [first.as_str(), second.as_str()]);
    for round in ["added", "first"] {
        let order = |keys: [&'static str; 2]| if round == "added" { keys } else { [keys[1], keys[0]] };
        write(&keys_file, &order(bus));
        write(&signing_key_file, &if round == "added" { tokens } else { [tokens[1], tokens[0]] });
        replace_everything(&mut cluster).await;
        assert_eq!(statuses(&cluster, &session).await, [200, 200], "{round}");
    }
    // A broker keeps what was signed with the old one, until it is said again.
    eventually("the new key alone", async || keys_in_use(kind, &cluster.broker).is_disjoint(&old_names).then_some(()))
        .await;
    let newer = Admin::login(&cluster.apis[1]).await.token().to_owned();
    write(&keys_file, &[NEW]);
    write(&signing_key_file, &[&second]);
    replace_everything(&mut cluster).await;
    assert_eq!(statuses(&cluster, &newer).await, [200, 200]);
    assert_eq!(statuses(&cluster, &session).await, [401, 401]);
    nobody_was_refused(&cluster).await;
    cluster.check();
}

fn write(path: &Path, keys: &[&str]) {
    fs::write(path, keys.join("\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// One round: each process once. The others' clients notice nothing, and those of a `user-api` come back.
async fn replace_everything(cluster: &mut Cluster) {
    for number in 0..2 {
        forget_gaps(cluster);
        cluster.replace_api(number).await;
        cluster.all_go_on().await;
        let others = 2 * (1 - number);
        assert_no_gap("a user-api", &cluster.followers[others..others + 2]);
    }
    for _ in 0..2 {
        forget_gaps(cluster);
        // The other one is heard then.
        cluster.replace_publisher(cluster.heard()).await;
        sleep(PAUSE).await;
        cluster.all_go_on().await;
        assert_no_gap("the exchange-rate that is heard", &cluster.followers);
    }
    nobody_was_refused(cluster).await;
}

fn forget_gaps(cluster: &Cluster) {
    cluster.followers.iter().for_each(|follower| _ = follower.longest_gap());
}

fn assert_no_gap(replaced: &str, followers: &[Follower]) {
    let longest = followers.iter().map(Follower::longest_gap).max().unwrap_or_default();
    println!("while {replaced} was replaced, clients heard nothing of a pair for {longest:?} at most");
    assert!(longest < STALE, "{replaced}: {longest:?}");
}

/// No process has refused a message for its signature.
async fn nobody_was_refused(cluster: &Cluster) {
    for process in cluster.publishers().chain(&cluster.apis) {
        for reason in ["unsigned", "unknown_key", "wrong_code"] {
            assert_eq!(process.metric_of("ratebus_link_refused_total", reason).await, 0, "{reason}");
        }
    }
}

/// What each `user-api` answers to somebody with this token.
async fn statuses(cluster: &Cluster, token: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for api in &cluster.apis {
        let request = reqwest::Client::new().get(format!("{}/v1/me", api.url("user-api"))).bearer_auth(token);
        statuses.push(within("an answer", request.send()).await.unwrap().status().as_u16());
    }
    statuses
}

/// The names of the keys that what Redis keeps is signed with; NATS keeps nothing.
fn keys_in_use(kind: BrokerKind, broker: &Broker) -> BTreeSet<String> {
    if kind == BrokerKind::Nats {
        return BTreeSet::new();
    }
    let kept = broker.redis_command(&["KEYS", "ratebus:last:*"]);
    let name = |key: &str| {
        let text = broker.redis_command(&["GET", key]);
        let (_, code) = text.split_once("\"mac\":\"")?;
        code.split_once(':').map(|(name, _)| name.to_owned())
    };
    kept.lines().filter_map(name).collect()
}
