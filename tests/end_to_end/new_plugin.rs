//! `ratebus plugin new`: what it writes compiles, passes its own tests, and serves rates as a library.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::harness::{Launch, in_project, quote_over_http, within};

/// Building the SDK for the first time takes minutes; afterwards it is seconds.
const BUILD: Duration = Duration::from_mins(30);

/// Runs `ratebus plugin new` in a folder: whether it succeeded, and what it said.
async fn new_in(folder: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Launch::new().command();
    command.current_dir(folder).args(["plugin", "new"]).args(args);
    let output = within("the command", command.output()).await.unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let sdk = in_project("");
    let sdk = sdk.to_str().unwrap();
    for (args, complaint) in [
        (&["Acme", "--sdk", sdk][..], "lower-case letters"),
        (&["a--b", "--sdk", sdk], "lower-case letters"),
        (&["2nd", "--sdk", sdk], "lower-case letters"),
        (&["a-name-of-more-than-thirty-two-characters", "--sdk", sdk], "at most 32"),
        (&["kraken", "--sdk", sdk], "source/kraken is built in"),
        (&["sdk", "--sdk", sdk], "ratebus has a crate ratebus-sdk"),
        (&["acme"], "is in no checkout of ratebus: name one with --sdk"),
        (&["acme", "--sdk", "/dev"], "/dev is no checkout of ratebus"),
        (&["acme", "--sdk", sdk, "--into", "nowhere"], "--into nowhere"),
        (&["acme", "--sdk", sdk, "--kind", "fax"], "websocket"),
    ] {
        let (done, said) = new_in(folder.path(), args).await;
        assert!(!done && said.contains(complaint), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let (done, said) = new_in(folder.path(), &["acme", "--sdk", sdk]).await;
    assert!(!done && said.contains("acme cannot be made: File exists"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path().join("acme")).unwrap().count(), 0);
}

/// A new crate, in a folder that goes with it.
struct Crate {
    folder: TempDir,
    name: &'static str,
}

impl Crate {
    async fn new(name: &'static str, kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sdk = in_project("");
        let (done, said) = new_in(folder.path(), &[name, "--kind", kind, "--sdk", sdk.to_str().unwrap()]).await;
        assert!(done, "{said}");
        Self { folder, name }
    }

    /// Where all of them are built, so that the SDK is built once.
    fn target() -> PathBuf {
        Path::new(env!("CARGO_BIN_EXE_ratebus")).parent().unwrap().with_file_name("new-plugins")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.args(["--offline"]).args(args).current_dir(self.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("CARGO_TARGET_DIR", Self::target()).env("CARGO_PROFILE_DEV_DEBUG", "0");
        command
    }

    /// Runs its own tests.
    async fn test(&self) {
        let output = timeout(BUILD, self.cargo(&["test"]).output()).await.expect("a build ends").unwrap();
        let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
        assert!(said(&output.stdout).contains("digit_for_digit ... ok"), "its tests were not run");
    }

    /// Starts its toy exchange; the process, and its address.
    async fn toy(&self, example: &str) -> (Child, String) {
        let mut toy = self.cargo(&["run", "--example", example, "--", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(toy.stdout.take().unwrap()).lines();
        let line = timeout(BUILD, lines.next_line()).await.expect("a build ends").unwrap().unwrap();
        (toy, line.strip_prefix("The toy exchange is at ").unwrap().to_owned())
    }

    /// The rates of its library reach clients, with the config that came with it.
    async fn serves(&self, example: &str) {
        let (_toy, endpoint) = self.toy(example).await;
        let libraries = Self::target().join("debug/examples");
        let library = libraries.join(format!("lib{}.so", self.name.replace('-', "_")));
        let launch = Launch::of(&self.path().join("plugins.toml"));
        let mut hash = launch.command();
        let output = within("the hash", hash.args(["plugins", "hash"]).arg(library).output()).await.unwrap();
        let hash = String::from_utf8(output.stdout).unwrap();
        let ratebus = launch
            .set(&format!("plugins.dir={}", libraries.display()))
            .set("plugins.allow_unpinned=false")
            .set(&format!("plugin.{}.sha256=\"{}\"", self.name, hash.trim()))
            .set(&format!("plugin.{}.config.endpoint={endpoint}", self.name))
            .start()
            .await;
        ratebus.ready("exchange-rate").await;
        for (pair, ask) in [("BTC_USD", "81414.00"), ("ETH_USD", "3002.00")] {
            let rate = quote_over_http(&ratebus.url("exchange-rate"), pair).await;
            assert_eq!((&rate["original"]["buy"], &rate["source"]), (&ask.into(), &self.name.into()), "{rate}");
        }
    }
}

#[tokio::test]
async fn a_source_over_a_websocket_passes_its_tests_and_runs_as_a_library() {
    let acme = Crate::new("acme-stream", "websocket").await;
    acme.test().await;
    acme.serves("toy_websocket").await;
}

#[tokio::test]
async fn a_source_over_http_passes_its_tests_and_runs_as_a_library() {
    let acme = Crate::new("acme-poll", "http").await;
    acme.test().await;
    acme.serves("toy_http").await;
}
