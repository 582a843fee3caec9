//! The config as its reader sees it: layers, and one report of everything that is wrong.

#![allow(clippy::unwrap_used, reason = "a failed step must fail the test")]

use std::io::Write;

use async_trait::async_trait;
use ratebus_core::{
    Entry, Registry,
    config::{Config, ConfigFile, Override},
};
use ratebus_sdk::{ConfigError, Context, Env, Error, Factory, Source};
use serde::Deserialize;

/// A source that wants a name and a number.
struct Toy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToyConfig {
    pairs: Vec<String>,
    #[serde(default)]
    api_key: String,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    amount: String,
}

impl Factory for Toy {
    type Config = ToyConfig;
    const TYPE: &'static str = "source/toy";

    fn build(config: ToyConfig, env: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        error.take(env.listener("listener", "web"));
        for (index, pair) in config.pairs.iter().enumerate().filter(|(_, pair)| !pair.contains('_')) {
            error.add(format!("pairs.{index}"), format!("{pair:?} is not a pair"));
        }
        if config.amount == "show" {
            error.add("amount", format!("count is {}, key has {} letters", config.count, config.api_key.len()));
        }
        error.or(Self)
    }
}

#[async_trait]
impl Source for Toy {
    async fn run(self: Box<Self>, _: Context) -> Result<(), Error> {
        Ok(())
    }
}

const REGISTRY: Registry = Registry::new(&[Entry::source::<Toy>("1.2.3")]);

const GOOD: &str = r#"
[role.all]
plugins = ["toy"]
[plugin.toy]
use = "source/toy"
[plugin.toy.config]
pairs = ["BTC_USD"]
amount = "0.10"
[listener.web]
listen = "127.0.0.1:0"
"#;

/// The report for `text` under variables and `--set`s, or "" when nothing is wrong.
fn report(text: &str, variables: &[(&str, &str)], sets: &[&str]) -> String {
    let file = ConfigFile { name: "test.toml".to_owned(), text: text.to_owned() };
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let sets = sets.iter().map(|set| Override::from_set(set).unwrap()).collect();
    let checked = Config::load(file, variables, sets).and_then(|config| {
        let role = config.settings.runtime.role.clone();
        config.plan(&role, &REGISTRY, &[]).map(drop)
    });
    checked.err().map(|report| report.to_string()).unwrap_or_default()
}

#[test]
fn a_good_config_is_accepted() {
    assert_eq!(report(GOOD, &[], &[]), "");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = r#"[runtime]
rol = "all"
shutdown_grace = "soon"
[log]
format = "xml"
[role.all]
plugins = ["toy"]
[plugin.toy]
use = "source/toy"
librry = "x"
[listener.web]
listen = "everywhere"
"#;
    let expected = "\
test.toml:5: log.format: \"xml\" is not one of: auto, text, json
test.toml:12: listener.web.listen: invalid socket address syntax
test.toml:10: plugin.toy.librry: unknown key; expected one of: use, library, sha256, required, config
test.toml:2: runtime.rol: unknown key; expected one of: role, shutdown_delay, shutdown_grace
test.toml:3: runtime.shutdown_grace: \"soon\" is not a duration such as \"500ms\", \"10s\", \"5m\" or \"2h\"";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&report(text, &[], &[])), sorted(expected));
}

#[test]
fn a_plugins_own_problems_carry_its_keys() {
    let text =
        GOOD.replace("[\"BTC_USD\"]", "[\n  \"BTC_USD\",\n  \"BTCUSD\",\n]").replace("listener.web", "listener.other");
    let report = report(&text, &[], &[]);
    assert!(report.contains("test.toml:9: plugin.toy.config.pairs.1: \"BTCUSD\" is not a pair"), "{report}");
    assert!(report.contains("plugin.toy.config.listener: no listener is named \"web\"; there are: other"), "{report}");
}

#[test]
fn how_a_pair_is_priced_is_checked() {
    let with = |lines: &str| report(&format!("{GOOD}[pairs.BTC_USD]\n{lines}"), &[], &[]);
    for (lines, problem) in [
        ("price = \"median\"", ""),
        ("price = \"median\"\nquorum = 1\nsources = [\"a\"]\nreturn_after = \"1m\"\nmax_deviation_bps = 50", ""),
        ("max_disagreement_bps = 10000", ""),
        ("price = \"mean\"", "test.toml:12: pairs.BTC_USD.price: \"mean\" is not one of: first, median"),
        ("quorum = 2", "test.toml:12: pairs.BTC_USD.quorum: is for price = \"median\""),
        ("price = \"median\"\nquorum = 0", "test.toml:13: pairs.BTC_USD.quorum: must be at least 1"),
        (
            "price = \"median\"\nsources = [\"a\"]",
            "pairs.BTC_USD.quorum: 2 sources, of the 1 listed, can never be there",
        ),
        ("sources = [\"a\", \"b\", \"a\"]", "test.toml:12: pairs.BTC_USD.sources: a is listed twice"),
        ("max_deviation_bps = 0", "test.toml:12: pairs.BTC_USD.max_deviation_bps: must be from 1 to 10000"),
        ("max_disagreement_bps = 10001", "test.toml:12: pairs.BTC_USD.max_disagreement_bps: must be from 1 to 10000"),
    ] {
        let report = with(lines);
        assert!(report.contains(problem) && report.is_empty() == problem.is_empty(), "{lines}: {report}");
    }
}

#[test]
fn what_a_pair_is_made_from_is_checked() {
    let with = |lines: &str| report(&format!("{GOOD}[pairs.BTC_USD]\n[pairs.EUR_USD]\n{lines}"), &[], &[]);
    let cross = "[pairs.BTC_EUR]\ncross = [\"BTC_USD\", \"EUR_USD\"]\n";
    for (lines, problem) in [
        (cross.to_owned(), ""),
        (format!("{cross}price_step = \"0.1\"\n[pairs.EUR_BTC]\ncross = [\"BTC_EUR\"]"), ""),
        (format!("{cross}quorum = 2"), "test.toml:15: pairs.BTC_EUR.quorum: is for a pair that sources price"),
        (format!("{cross}sources = [\"a\"]"), "pairs.BTC_EUR.sources: is for a pair that sources price"),
        (cross.replace("EUR_USD", "USD_EUR"), "pairs.BTC_EUR.cross.1: there is no [pairs.USD_EUR]; it may be empty"),
        (
            cross.replace("BTC_USD\", \"EUR_USD", "BTC_USD"),
            "test.toml:14: pairs.BTC_EUR.cross: leads to USD, not to EUR",
        ),
        (cross.replace("BTC_USD\", \"", ""), "pairs.BTC_EUR.cross.0: EUR_USD does not lead on from BTC"),
        (
            format!("{cross}[pairs.USD_EUR]\ncross = [\"EUR_USD\"]\n[pairs.EUR_BTC]\ncross = [\"BTC_EUR\"]")
                .replace("cross = [\"BTC_USD\", \"EUR_USD\"]", "cross = [\"EUR_BTC\"]"),
            "pairs.BTC_EUR.cross: leads back to itself: BTC_EUR, EUR_BTC, BTC_EUR",
        ),
    ] {
        let report = with(&lines);
        assert!(report.contains(problem) && report.is_empty() == problem.is_empty(), "{lines}: {report}");
    }
}

#[test]
fn no_plugin_is_called_what_several_are() {
    let report = report(&format!("{GOOD}[plugin.median]\nuse = \"source/toy\""), &[], &[]);
    assert!(report.contains("plugin.median: is what prices made of several are said to be from"), "{report}");
}

#[test]
fn unknown_types_roles_and_plugins_are_named() {
    let unknown_type = report(&GOOD.replace("source/toy", "source/tyo"), &[], &[]);
    assert_eq!(unknown_type, "test.toml:5: plugin.toy.use: no plugin type \"source/tyo\"; there are: source/toy");
    let unknown_plugin = report(&GOOD.replace("[\"toy\"]", "[\"toy\", \"yot\", \"toy\"]"), &[], &[]);
    assert!(unknown_plugin.contains("test.toml:3: role.all.plugins.1: no plugin is named yot"), "{unknown_plugin}");
    assert!(unknown_plugin.contains("test.toml:3: role.all.plugins.2: toy is listed twice"), "{unknown_plugin}");
    let unknown_role = report(GOOD, &[], &["runtime.role=none"]);
    assert_eq!(unknown_role, "--set runtime.role: runtime.role: no role \"none\"; there are: all");
}

#[test]
fn two_plugins_of_one_name_are_refused() {
    let text = format!("{GOOD}\n[plugin.toy]\nuse = \"source/toy\"\n");
    let report = report(&text, &[], &[]);
    assert!(report.starts_with("test.toml:12: not TOML: ") && report.contains("duplicate key `toy`"), "{report}");
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let text = GOOD.replace("127.0.0.1:0", "127.0.0.1:9090");
    assert_eq!(
        report(&text, &[], &[]),
        "test.toml:10: listener.web.listen: 127.0.0.1:9090 is also the address of metrics"
    );
}

#[test]
fn variables_and_sets_win_and_are_named_when_wrong() {
    let variables = [("RATEBUS_PLUGIN__TOY__CONFIG__COUNT", "7"), ("RATEBUS_PLUGIN__TOY__CONFIG__AMOUNT", "show")];
    assert!(report(GOOD, &variables, &[]).contains("count is 7"));
    assert!(report(GOOD, &variables, &["plugin.toy.config.count=8"]).contains("count is 8"));
    let wrong = report(GOOD, &[("RATEBUS_LISTENER__WEB__LISTEN", "nowhere")], &[]);
    assert_eq!(
        wrong,
        "environment variable RATEBUS_LISTENER__WEB__LISTEN: listener.web.listen: invalid socket address syntax"
    );
    let unknown = report(GOOD, &[("RATEBUS_LOGS__FORMAT", "json")], &[]);
    assert!(unknown.starts_with("environment variable RATEBUS_LOGS__FORMAT: logs: unknown key"), "{unknown}");
    assert_eq!(report(GOOD, &[("RATEBUS_ROLE", "x"), ("RATEBUS_CONFIG", "y"), ("OTHER", "z")], &[]), "");
}

/// What a role has otherwise in the file is no reason to pass over what is said at the start.
#[test]
fn what_is_said_from_outside_for_all_holds_for_each_role() {
    let text = GOOD.replace(
        "plugins = [",
        "bus.backend = \"nats\"\nbus.url = \"http://localhost\"\nmetrics.listen = \"127.0.0.1:1\"\nplugins = [",
    );
    let wrong = report(&text, &[], &[]);
    assert!(wrong.starts_with("test.toml:4: role.all.bus.url: expected the broker's URL, nats://"), "{wrong}");
    assert_eq!(report(&text, &[("RATEBUS_BUS__URL", "nats://localhost")], &[]), "");
    let taken = report(&text, &[("RATEBUS_BUS__BACKEND", "memory")], &["listener.web.listen=127.0.0.1:1"]);
    assert_eq!(taken, "--set listener.web.listen: listener.web.listen: 127.0.0.1:1 is also the address of metrics");
    let sets = ["listener.web.listen=127.0.0.1:1", "metrics.listen=127.0.0.1:2", "bus.backend=memory"];
    assert_eq!(report(&text, &[], &sets), "");
    let wrong = report(&text, &[], &["bus.backend=memory", "role.all.bus.backend=nats"]);
    assert!(wrong.contains("role.all.bus.url: "), "{wrong}");
}

#[test]
fn an_amount_from_a_variable_stays_text() {
    // As a binary float it would become 0.1 and be refused as no string.
    assert_eq!(report(GOOD, &[("RATEBUS_PLUGIN__TOY__CONFIG__AMOUNT", "0.10")], &[]), "");
    let unset = GOOD.replace("amount = \"0.10\"\n", "");
    assert_eq!(report(&unset, &[("RATEBUS_PLUGIN__TOY__CONFIG__AMOUNT", "0.10")], &[]), "");
}

#[test]
fn a_secret_is_never_shown() {
    let wrong = report(GOOD, &[("RATEBUS_PLUGIN__TOY__CONFIG__API_KEY", "[\"canary\"]")], &[]);
    assert!(wrong.contains("api_key: expected a string"), "{wrong}");
    assert!(!wrong.contains("canary"), "{wrong}");
    let broken = report(&GOOD.replace("amount = \"0.10\"", "api_key = \"canary"), &[], &[]);
    assert_eq!(broken, "test.toml:8: not TOML: invalid basic string");
}

#[test]
fn what_only_a_start_would_show_is_told_before() {
    let (zero, huge) = ("listener.web.max_connections=0", "listener.web.max_connections=9223372036854775807");
    assert!(report(GOOD, &[], &[zero]).contains("max_connections: found unsigned int `0`, expected a nonzero u32"));
    assert!(report(GOOD, &[], &[huge]).contains("expected a nonzero u32"));
    assert!(report(GOOD, &[], &["log.filter=blah[{"]).contains("log.filter: \"blah[{\": invalid filter directive"));
}

#[test]
fn who_may_reach_a_listener_is_checked() {
    for (set, expected) in [
        (
            "max_connections_per_address=0",
            "max_connections_per_address: found unsigned int `0`, expected a nonzero u32",
        ),
        ("trusted_proxies=[\"10.0.0.0/33\"]", "trusted_proxies: \"10.0.0.0/33\" is neither an address nor a network"),
        ("trusted_proxies=10.0.0.1", "trusted_proxies: found string \"10.0.0.1\", expected a list"),
        ("origins=[\"https://app.example.com/\"]", "origins: \"https://app.example.com/\" is not an origin"),
        ("origins=[\"*\", \"https://app.example.com\"]", "origins: \"*\" is every origin, so it stands alone"),
    ] {
        let found = report(GOOD, &[], &[&format!("listener.web.{set}")]);
        assert!(found.contains(&format!("listener.web.{expected}")), "{found}");
    }
    for set in ["trusted_proxies=[\"10.0.0.0/8\", \"::1\"]", "origins=[\"https://app.example.com\"]", "origins=[\"*\"]"]
    {
        assert_eq!(report(GOOD, &[], &[&format!("listener.web.{set}")]), "");
    }
}

#[test]
fn what_was_expected_is_said_in_the_words_of_toml() {
    assert_eq!(report("runtime = 3", &[], &[]), "test.toml:1: runtime: found signed int `3`, expected a table");
    assert_eq!(report("role = 3", &[], &[]), "test.toml:1: role: found signed int `3`, expected a table");
    let list = report(&GOOD.replace("[\"toy\"]", "\"toy\""), &[], &[]);
    assert_eq!(list, "test.toml:3: role.all.plugins: found string \"toy\", expected a list");
}

#[test]
fn a_list_with_a_wrong_element_is_not_called_missing() {
    let report = report(&GOOD.replace("[\"toy\"]", "[\"toy\", 1]"), &[], &[]);
    assert_eq!(report, "test.toml:3: role.all.plugins.1: found signed int `1`, expected a string");
}

#[test]
fn variables_of_kubernetes_are_left_alone() {
    let names = ["RATEBUS_SERVICE_HOST", "RATEBUS_SERVICE_PORT_HTTP", "RATEBUS_PORT", "RATEBUS_PORT_3334_TCP_ADDR"];
    assert_eq!(report(GOOD, &names.map(|name| (name, "tcp://10.0.0.1:3334")), &[]), "");
    assert!(report(GOOD, &[("RATEBUS_LOG_FILTER", "debug")], &[]).contains("RATEBUS_LOG_FILTER"));
}

#[test]
fn a_broken_or_missing_file_is_named() {
    assert!(report("[log]\n[runtime", &[], &[]).starts_with("test.toml:2: not TOML: "));
    let missing = ConfigFile::read(std::path::Path::new("/nonexistent/plugins.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/plugins.toml: cannot be read: No such file"), "{missing}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"\xff\xfe").unwrap();
    assert!(
        ConfigFile::read(file.path())
            .unwrap_err()
            .to_string()
            .contains("cannot be read: stream did not contain valid UTF-8")
    );
}
