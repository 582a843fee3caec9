//! Bad input to a start: a clear message, a documented exit code, and nothing left behind.

use std::{net::TcpListener, process::Output};

use serde_json::Value;

use crate::harness::{Admin, Launch, eventually, in_project, started, within};

async fn fails(launch: &Launch) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = within("the process to end", launch.command().output()).await.unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn every_config_problem_is_named_and_nothing_is_started() {
    let cases: [(&str, &str); 9] = [
        ("runtime.rol=all", "runtime.rol: unknown key"),
        (
            "plugin.kraken.use=source/krakn",
            "plugin.kraken.use: no plugin type \"source/krakn\"; there are: sink/broadcast",
        ),
        ("plugin.kraken.config.pears=[]", "plugin.kraken.config.pears: unknown key"),
        ("plugin.kraken.config.pairs=[\"BTCUSD\"]", "plugin.kraken.config.pairs.0: \"BTCUSD\" is not a pair"),
        ("plugin.kraken.config.endpoint=http://example.com", "plugin.kraken.config.endpoint: "),
        ("plugin.broadcast.config.listener=web", "plugin.broadcast.config.listener: no listener is named \"web\""),
        ("plugin.spread.config.default.buy=ten", "plugin.spread.config.default.buy: \"ten\" is not a decimal number"),
        (
            "plugin.api.config.password_hash.memory_kib=1024",
            "plugin.api.config.password_hash.memory_kib: expected between 19456 and 1048576",
        ),
        ("runtime.role=nobody", "no role \"nobody\"; there are: all, demo, exchange-rate, user-api"),
    ];
    for (set, expected) in cases {
        let launch = Launch::new().set(set);
        let folder = launch.folder();
        let (code, message) = fails(&launch).await;
        assert_eq!(code, Some(78), "{set}: {message}");
        assert!(message.contains(expected), "{set}: {message}");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "{set}: files were made");
    }
}

#[tokio::test]
async fn streams_for_accounts_need_somebody_who_serves_accounts() {
    let launch = |plugins: &str| {
        let launch = Launch::new().set("plugin.broadcast.config.access=accounts");
        launch
            .set(r#"plugin.more={use="sink/http-api",config={listener="exchange-rate",routes=["accounts"]}}"#)
            .set(&format!("role.all.plugins={plugins}"))
    };
    for (plugins, expected) in [
        (r#"["kraken","rates-http","broadcast"]"#, "no plugin of the role all serves accounts, so nobody could log in"),
        (
            r#"["kraken","spread","api","more","broadcast"]"#,
            "which accounts? Of the role all these serve some: api, more",
        ),
    ] {
        let (code, message) = fails(&launch(plugins)).await;
        assert_eq!(code, Some(78), "{plugins}: {message}");
        assert!(message.contains(&format!("plugin.broadcast.config.access: {expected}")), "{plugins}: {message}");
    }
}

#[tokio::test]
async fn a_weak_signing_key_is_a_wrong_config() {
    let launch = Launch::new();
    let key = launch.folder().join("jwt.key");
    std::fs::write(&key, "secret").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (code, message) = fails(&launch).await;
    assert_eq!(code, Some(78), "{message}");
    let expected = "plugin.api.config.signing_key_file: ";
    assert!(message.contains(expected) && message.contains("no usable key"), "{message}");
}

#[tokio::test]
async fn a_database_that_others_may_read_is_a_wrong_config() {
    let launch = Launch::new();
    Admin::create(&launch).await;
    let database = launch.folder().join("ratebus.db");
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&database, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let (code, message) = fails(&launch).await;
        assert_eq!(code, Some(78), "{message}");
        assert!(message.contains("plugin.api.config.database: ") && message.contains("ratebus.db"), "{message}");
    }
}

#[tokio::test]
async fn all_problems_come_at_once() {
    let launch =
        Launch::new().set("plugin.kraken.config.pairs=[\"BTCUSD\"]").set("plugin.spread.config.default.buy=ten");
    let (code, message) = fails(&launch).await;
    assert_eq!(code, Some(78));
    assert!(message.contains("pairs.0") && message.contains("default.buy"), "{message}");
}

/// What the shipped file says of keys that may be left out is so: `# key = value` is taken where it stands.
#[tokio::test]
async fn the_optional_keys_of_the_shipped_file_are_keys() {
    let text = std::fs::read_to_string(in_project("plugins.toml")).unwrap();
    let is_key = |line: &str| {
        let name = line.split_once(" = ").map(|(name, _)| name);
        line.starts_with('[') || name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let optional: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest))).collect();
    assert!(optional.len() > 20, "{optional:?}");
    let uncommented = text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line));
    let plugins = r#"["kraken","coinbase","binance","okx","bitstamp","elsewhere","kraken-rest","bitstamp-rest","redis-feed","rates-http","spread","api","broadcast","redis-publisher"]"#;
    let launch = Launch::new().arg("--config").arg("all-keys.toml").set(&format!("role.all.plugins={plugins}"));
    let launch = launch.set("bus.backend=memory").arg("check");
    std::fs::create_dir(launch.folder().join("data")).unwrap();
    for secret in ["data/redis.password", "data/coinmarketcap.key"] {
        let path = launch.folder().join(secret);
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::write(launch.folder().join("all-keys.toml"), uncommented.collect::<Vec<_>>().join("\n")).unwrap();
    let (code, message) = fails(&launch).await;
    assert_eq!(code, Some(0), "{message}");
}

#[tokio::test]
async fn a_missing_config_file_is_named() {
    let (code, message) = fails(&Launch::new().arg("--config").arg("nowhere.toml")).await;
    assert_eq!(code, Some(78));
    assert!(message.contains("nowhere.toml: cannot be read: No such file or directory"), "{message}");
}

#[tokio::test]
async fn a_config_file_that_cannot_be_followed_is_not_passed_over() {
    let launch = Launch::new();
    std::os::unix::fs::symlink("/nonexistent/plugins.toml", launch.folder().join("plugins.toml")).unwrap();
    let (code, message) = fails(&launch).await;
    assert_eq!(code, Some(78));
    assert!(message.contains("plugins.toml: cannot be read: No such file or directory"), "{message}");
}

#[tokio::test]
async fn a_role_that_is_not_there_is_blamed_on_who_asked_for_it() {
    for launch in [Launch::new().variable("RATEBUS_ROLE", "nobody"), Launch::new().arg("--role").arg("nobody")] {
        let (code, message) = fails(&launch).await;
        assert_eq!(code, Some(78));
        assert!(message.contains("--role or RATEBUS_ROLE: runtime.role: no role \"nobody\""), "{message}");
    }
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let launch = Launch::new().set(&format!("listener.user-api.listen={address}"));
    let folder = launch.folder();
    let (code, message) = fails(&launch).await;
    assert_eq!(code, Some(1));
    let line = format!("listener \"user-api\" cannot listen on {address}: Address already in use");
    assert!(message.contains(&line), "{message}");
    assert!(!folder.join("ratebus.db").exists(), "nothing is migrated when a port is taken");
}

#[tokio::test]
async fn a_pair_the_exchange_does_not_have_leaves_the_others_alone() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url()).set("plugin.kraken.config.pairs=[\"BTC_USD\", \"NOPE_USD\"]");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let nope = eventually("the refusal", || async {
        let pairs: Value =
            reqwest::get(format!("{}/v1/pairs", ratebus.url("user-api"))).await.ok()?.json().await.ok()?;
        let nope = pairs["pairs"].as_array()?.iter().find(|pair| pair["pair"] == "NOPE_USD")?;
        (nope["sources"][0]["state"] == "refused").then(|| nope.clone())
    })
    .await;
    assert_eq!(nope["sources"][0]["reason"], "Currency pair not supported NOPE/USD", "{nope}");
}

#[tokio::test]
async fn a_variable_wins_over_the_file_and_is_named_when_it_is_wrong() {
    let (code, message) = fails(&Launch::new().variable("RATEBUS_PLUGIN__KRAKEN__CONFIG__PAIRS", "[BTCUSD]")).await;
    assert_eq!(code, Some(78));
    let expected = "environment variable RATEBUS_PLUGIN__KRAKEN__CONFIG__PAIRS: plugin.kraken.config.pairs.0: ";
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn a_broker_elsewhere_without_tls_is_warned_of() {
    for (url, warned) in [("redis://:secret@broker.invalid", 1), ("rediss://:secret@broker.invalid", 0)] {
        let launch = Launch::new().set("runtime.role=demo").set("bus.backend=redis").set(&format!("bus.url={url}"));
        let ratebus = launch.start().await;
        ratebus.ready("user-api").await;
        assert_eq!(ratebus.log_lines("the way to the broker is not encrypted").len(), warned, "{url}");
    }
}
