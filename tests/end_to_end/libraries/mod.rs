//! Plugins in shared libraries: what they say reaches clients, and what is wrong with one of them stays with it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{Launch, Ratebus, eventually, in_project, quote_over_http, within};

/// A folder of libraries, of plugins that use them, and the process that does.
struct Bench {
    launch: Launch,
    plugins: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let launch = Launch::new();
        let folder = launch.folder().join("libraries");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let launch = launch.set(&format!("plugins.dir={}", folder.display()));
        Self { launch, plugins: vec!["rates-http".to_owned()] }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.launch.folder().join("libraries").join(file)
    }

    /// Compiles a library into the folder; the hash that it has.
    fn compile(&self, file: &str, source: &str, flags: &[&str]) -> String {
        let include = in_project("core/abi/include");
        let always = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", "-I"];
        let mut cc = Command::new("cc");
        cc.args(always).arg(include).args(flags).arg("-o").arg(self.path(file)).arg(in_project(source));
        assert!(cc.status().unwrap().success(), "{file}");
        self.settle(file)
    }

    /// The library with nothing wrong.
    fn compile_example(&self) -> String {
        self.compile("libexample.so", "plugins/example-c/example.c", &[])
    }

    fn compile_misbehaving(&self, file: &str, flags: &[&str]) -> String {
        self.compile(file, "tests/end_to_end/libraries/misbehaving.c", flags)
    }

    /// The library of the plugins in Rust, which is built beside the tests.
    fn copy_rust(&self) -> String {
        let tests = std::env::current_exe().unwrap();
        let library = tests.with_file_name("libratebus_test_library.so");
        fs::copy(library, self.path("librust.so")).unwrap();
        self.settle("librust.so")
    }

    /// Writes a file into the folder; the hash that it has.
    fn write(&self, file: &str, bytes: &[u8]) -> String {
        fs::write(self.path(file), bytes).unwrap();
        self.settle(file)
    }

    fn settle(&self, file: &str) -> String {
        fs::set_permissions(self.path(file), Permissions::from_mode(0o644)).unwrap();
        hash(&self.path(file))
    }

    /// Adds a plugin to the role.
    fn plugin(&mut self, name: &str, table: &str) {
        self.launch = self.launch.clone().set(&format!("plugin.{name}={{{table}}}"));
        self.plugins.push(name.to_owned());
    }

    /// Adds a plugin of the library `file`.
    fn library(&mut self, name: &str, r#use: &str, file: &str, sha256: &str, more: &str) {
        self.plugin(name, &format!(r#"use="{use}",library="{file}",sha256="{sha256}"{more}"#));
    }

    fn launch(&self) -> Launch {
        self.launch.clone().set(&format!("role.all.plugins={:?}", self.plugins))
    }

    async fn fails(&self) -> (Option<i32>, String) {
        output(self.launch(), &["run"]).await
    }
}

/// The exit code, and standard output and error together.
async fn output(launch: Launch, args: &[&str]) -> (Option<i32>, String) {
    let launch = args.iter().fold(launch, |launch, arg| launch.arg(arg));
    let Output { status, stdout, stderr } = within("the process to end", launch.command().output()).await.unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// What `ratebus plugins hash` prints.
fn hash(path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ratebus")).args(["plugins", "hash"]).arg(path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A plugin's state, and its reason, as the operator sees them.
async fn health(ratebus: &Ratebus, plugin: &str) -> (String, String) {
    let answer = reqwest::get(format!("{}/health", ratebus.url("metrics"))).await.unwrap();
    let report: Value = answer.json().await.unwrap();
    let one = report["plugins"].as_array().unwrap().iter().find(|one| one["plugin"] == plugin);
    let text = |key: &str| one.map(|one| one[key].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    (text("state"), text("reason"))
}

/// Waits for a plugin's state; its reason.
async fn in_state(ratebus: &Ratebus, plugin: &str, state: &str) -> String {
    eventually(&format!("{plugin} to be {state}"), || async {
        let (now, reason) = health(ratebus, plugin).await;
        (now == state).then_some(reason)
    })
    .await
}

/// Waits for a rate of the example.
async fn serves(ratebus: &Ratebus, pair: &str) {
    let url = format!("{}/v1/rates/{pair}", ratebus.url("exchange-rate"));
    eventually("a rate", || async { (reqwest::get(&url).await.ok()?.status() == 200).then_some(()) }).await;
}

#[tokio::test]
async fn a_source_in_c_reaches_clients() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    let config = r#",config={pair="ETH_USD",cents=150000,every_ms=20}"#;
    bench.library("example", "source/example-c", "libexample.so", &sha256, config);
    let ratebus = bench.launch().start().await;
    ratebus.ready("exchange-rate").await;
    serves(&ratebus, "ETH_USD").await;
    let rate = quote_over_http(&ratebus.url("exchange-rate"), "ETH_USD").await;
    let (buy, sell) = (rate["original"]["buy"].as_str().unwrap(), rate["original"]["sell"].as_str().unwrap());
    assert!(buy.starts_with("1500.") && buy.len() == 7 && buy > sell, "{rate}");
    assert_eq!(
        (&rate["source"], &rate["status"], &rate["kind"]),
        (&"example".into(), &"fresh".into(), &"two_sided".into())
    );
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
}

#[tokio::test]
async fn libraries_are_listed_and_checked() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let (code, out) = output(bench.launch(), &["plugins"]).await;
    assert_eq!(code, Some(0), "{out}");
    let line = out.lines().find(|line| line.starts_with("source/example-c")).unwrap();
    assert!(line.contains("0.1.0") && line.contains("libexample.so") && line.contains(&sha256), "{out}");
    assert_eq!(output(bench.launch(), &["check", "--role", "all"]).await.0, Some(0));

    let wrong = bench.launch().set("plugin.example.config.cents=1");
    let (code, out) = output(wrong, &["check"]).await;
    assert_eq!((code, out.contains("plugin.example.config.cents: expected 1000 or more")), (Some(78), true), "{out}");

    let zeros = "0".repeat(64);
    let wrong = bench.launch().set(&format!("plugin.example.sha256={zeros}"));
    let (code, out) = output(wrong, &["check"]).await;
    let expected = format!("plugin.example.library: refused (wrong_hash): its sha256 is {sha256}");
    assert_eq!((code, out.contains(&expected)), (Some(78), true), "{out}");
}

#[tokio::test]
async fn how_a_library_is_named_is_checked_before_anything_starts() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    for (set, expected) in [
        (
            "plugin.example.library=../libexample.so",
            "plugin.example.library: expected the name of a file in plugins.dir",
        ),
        ("plugin.example.library=/lib/libexample.so", "plugin.example.library: expected the name of a file"),
        ("plugin.example.library=..", "plugin.example.library: expected the name of a file"),
        ("plugin.example.sha256=abc", "plugin.example.sha256: expected 64 hexadecimal digits"),
        ("plugin.rates-http.required=true", "plugin.rates-http.required: is for a library"),
    ] {
        let (code, out) = output(bench.launch().set(set), &["run"]).await;
        assert_eq!((code, out.contains(expected)), (Some(78), true), "{set}: {out}");
    }
    let mut unset = Bench::new();
    unset.compile_example();
    unset.plugin("example", r#"use="source/example-c",library="libexample.so""#);
    let (code, out) = unset.fails().await;
    assert_eq!((code, out.contains("plugin.example.sha256: missing")), (Some(78), true), "{out}");

    let ratebus = unset.launch().set("plugins.allow_unpinned=true").start().await;
    ratebus.ready("exchange-rate").await;
    assert!(ratebus.logged("the library of example may be any").await.contains(&sha256));
    assert!(in_state(&ratebus, "example", "degraded").await.contains("no sha256 is set"));
    serves(&ratebus, "BTC_USD").await;
}

#[tokio::test]
async fn a_library_that_cannot_be_used_is_left_out_and_the_rest_serves() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    let whole = fs::read(bench.path("libexample.so")).unwrap();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let mut broken = Vec::new();
    let mut broken_library = |bench: &mut Bench, reason: &'static str, name: &str, file: &str, sha256: &str| {
        bench.library(name, "source/misbehaving", file, sha256, "");
        broken.push((name.to_owned(), reason));
    };

    let half = bench.write("libhalf.so", &whole[..whole.len() / 2]);
    broken_library(&mut bench, "truncated", "half", "libhalf.so", &half);
    let header = bench.write("libheader.so", &whole[..40]);
    broken_library(&mut bench, "truncated", "header", "libheader.so", &header);
    let mut foreign = whole.clone();
    foreign[18] ^= 0xff;
    let foreign = bench.write("libforeign.so", &foreign);
    broken_library(&mut bench, "wrong_architecture", "foreign", "libforeign.so", &foreign);
    let text = bench.write("libtext.so", b"#!/bin/sh\nexit 1\n");
    broken_library(&mut bench, "not_a_library", "text", "libtext.so", &text);
    let program = bench.write("libprogram.so", &fs::read("/proc/self/exe").unwrap()[..4096]);
    broken_library(&mut bench, "truncated", "program", "libprogram.so", &program);
    for (reason, name, flag) in [
        ("missing_symbol", "symbol", "-DSYMBOL=another_name"),
        ("wrong_version", "version", "-DMAJOR=2"),
        ("not_a_plugin", "magic", "-DMAGIC=7"),
        ("malformed", "size", "-DSIZE=8"),
        ("malformed", "type", "-DTYPE=\"misbehaving\""),
        ("missing_component", "other", "-DTYPE=\"source/other\""),
        ("not_loaded", "needs", "-DNEEDS"),
    ] {
        let file = format!("lib{name}.so");
        let sha256 = bench.compile_misbehaving(&file, &[flag]);
        broken_library(&mut bench, reason, name, &file, &sha256);
    }
    broken_library(&mut bench, "wrong_hash", "hash", "libversion.so", &sha256);
    broken_library(&mut bench, "unreadable", "absent", "libabsent.so", &sha256);
    symlink("libexample.so", bench.path("liblink.so")).unwrap();
    broken_library(&mut bench, "symlink", "link", "liblink.so", &sha256);
    fs::create_dir(bench.path("libfolder.so")).unwrap();
    broken_library(&mut bench, "not_a_file", "folder", "libfolder.so", &sha256);
    bench.write("libopen.so", &whole);
    fs::set_permissions(bench.path("libopen.so"), Permissions::from_mode(0o664)).unwrap();
    broken_library(&mut bench, "writable_by_others", "open", "libopen.so", &sha256);
    bench.write("libowned.so", &whole);
    // Only root can give a file away.
    if std::os::unix::fs::chown(bench.path("libowned.so"), Some(12345), None).is_ok() {
        broken_library(&mut bench, "foreign_owner", "owned", "libowned.so", &sha256);
    }

    let ratebus = bench.launch().start().await;
    serves(&ratebus, "BTC_USD").await;
    for (name, reason) in &broken {
        let (state, words) = health(&ratebus, name).await;
        assert_eq!(
            (state.as_str(), words.contains(&format!("refused ({reason})"))),
            ("failed", true),
            "{name}: {words}"
        );
        let line = ratebus.logged(&format!("plugin.{name}.library: refused ({reason})")).await;
        assert!(line.contains("\"event\":\"library_refused\"") && line.contains("everything else goes on"), "{line}");
        let label = format!("plugin=\"{name}\",reason=\"{reason}\"");
        assert_eq!(ratebus.metric_of("ratebus_libraries_refused_total", &label).await, 1, "{label}");
    }
    let ready = reqwest::get(format!("{}/readyz", ratebus.url("exchange-rate"))).await.unwrap();
    assert_eq!(ready.status(), 503, "a plugin that was asked for is missing");

    let (code, out) = output(bench.launch(), &["check", "--role", "all"]).await;
    assert_eq!(code, Some(78));
    for (name, reason) in &broken {
        assert!(out.contains(&format!("plugin.{name}.library: refused ({reason})")), "{name}: {out}");
    }
    let (code, out) = output(bench.launch().set("plugin.half.required=true"), &["run"]).await;
    assert_eq!((code, out.contains("plugin.half.library: refused (truncated)")), (Some(78), true), "{out}");
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_not_used() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, ",required=true");
    for (folder, mode) in [("libraries", 0o775), ("libraries", 0o757), ("", 0o777)] {
        let folder = bench.launch.folder().join(folder);
        let before = fs::metadata(&folder).unwrap().permissions();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let (code, out) = bench.fails().await;
        assert_eq!((code, out.contains("refused (writable_by_others)")), (Some(78), true), "{mode:o}: {out}");
        fs::set_permissions(&folder, before).unwrap();
    }
    assert_eq!(output(bench.launch(), &["check", "--role", "all"]).await.0, Some(0));
}

#[tokio::test]
async fn an_instance_that_misbehaves_costs_itself_only() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let sha256 = bench.compile_misbehaving("libmisbehaving.so", &[]);
    for name in ["hang_create", "hang_start", "hang_stop", "spam", "nonsense", "fail"] {
        let config = format!(r#",config={{misbehave="{name}"}}"#);
        bench.library(name, "source/misbehaving", "libmisbehaving.so", &sha256, &config);
    }
    let ratebus = bench.launch().set("runtime.shutdown_grace=2s").start().await;
    serves(&ratebus, "BTC_USD").await;

    assert_eq!(in_state(&ratebus, "hang_create", "failed").await, "refused (hangs): `create` does not return");
    assert!(in_state(&ratebus, "hang_start", "failed").await.contains("`start` of source/misbehaving does not return"));
    assert_eq!(ratebus.metric_of("ratebus_library_calls_lost_total", "call=\"start\"").await, 1);
    // A fault of its own is forgiven twice.
    assert_eq!(in_state(&ratebus, "fail", "failed").await, "it  [31mfailed");
    assert_eq!(ratebus.metric_of("ratebus_plugin_failures_total", "plugin=\"fail\"").await, 3);

    eventually("the spam to be counted", || async {
        let refused = async |reason| {
            let label = format!("plugin=\"spam\",reason=\"{reason}\"");
            ratebus.metric_of("ratebus_library_refused_total", &label).await
        };
        (refused("full").await > 0 && refused("log").await > 0).then_some(())
    })
    .await;
    let lines = ratebus.log_lines("\"message\":\"spam\"").len();
    assert!(lines < 20_000, "the log took {lines} lines");

    eventually("what makes no sense to be counted", || async {
        let label = "plugin=\"nonsense\",reason=\"invalid\"";
        (ratebus.metric_of("ratebus_library_refused_total", label).await == 5).then_some(())
    })
    .await;
    eventually("the crossed price to be counted", || async {
        (ratebus.metric_of("ratebus_ticks_refused_total", "source=\"nonsense\",reason=\"crossed\"").await == 1)
            .then_some(())
    })
    .await;
    serves(&ratebus, "BTC_USD").await;

    ratebus.signal("TERM");
    let (status, _) = ratebus.exited().await;
    assert_eq!(status.code(), Some(1), "one does not stop");
}

#[tokio::test]
async fn what_a_library_says_of_its_config_carries_the_keys() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_misbehaving("libmisbehaving.so", &[]);
    let config = r#",config={misbehave="refuse"}"#;
    bench.library("wrong", "source/misbehaving", "libmisbehaving.so", &sha256, config);
    let (code, out) = bench.fails().await;
    assert_eq!(code, Some(78), "{out}");
    for expected in ["plugin.wrong.config.pairs.1: is no pair", "plugin.wrong.config.colour: unknown key"] {
        assert!(out.contains(expected), "{out}");
    }
}

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
        ("pears=[]", "plugin.steady.config.pears: unknown field `pears`"),
        ("pairs=[\"BTC_USD\",\"BTCUSD\"]", "plugin.steady.config.pairs.1: \"BTCUSD\" is not a pair"),
        ("pairs=[]", "plugin.steady.config.pairs: at least one pair is needed"),
    ] {
        let (code, out) = output(bench.launch().set(&format!("plugin.steady.config.{set}")), &["check"]).await;
        assert_eq!((code, out.contains(expected)), (Some(78), true), "{set}: {out}");
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
async fn a_sink_in_a_library_hears_rates_and_quotes() {
    let mut bench = Bench::new();
    let sha256 = bench.copy_rust();
    let config = r#",config={pairs=["BTC_USD"],price="20000.10"}"#;
    bench.library("steady", "source/steady", "librust.so", &sha256, config);
    bench.plugin("quoter", r#"use="sink/spread",config={stored=false,default={buy="1",sell="1"}}"#);
    let file = bench.path("heard");
    let config = format!(r#",config={{file="{}",patterns=["rates.>","quotes.*","pairs.steady"]}}"#, file.display());
    bench.library("recorder", "sink/recorder", "librust.so", &sha256, &config);
    let ratebus = bench.launch().start().await;
    ratebus.ready("exchange-rate").await;
    let heard = async |subject: &str| {
        eventually(subject, || async {
            let text = fs::read_to_string(&file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{subject} ")))?.to_owned();
            serde_json::from_str::<Value>(&line).ok()
        })
        .await
    };
    let rate = heard("rates.steady.BTC_USD").await;
    assert_eq!((&rate["rate"]["bid"], &rate["rate"]["ask"]), (&"20000.10".into(), &"20000.11".into()), "{rate}");
    assert_eq!((&rate["rate"]["source"], &rate["rate"]["market"]), (&"steady".into(), &"online".into()), "{rate}");
    let quote = heard("quotes.BTC_USD").await;
    assert!(quote.to_string().contains("\"20001.11\"") && quote.to_string().contains("\"19999.10\""), "{quote}");
    assert!(heard("pairs.steady").await.to_string().contains("subscribed"));
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
}
