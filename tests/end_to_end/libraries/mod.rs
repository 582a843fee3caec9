//! Plugins in shared libraries: what they say reaches clients, and what is wrong with one of them stays with it.

mod c;
mod refused;
mod reload;
mod rust;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{Launch, Ratebus, eventually, in_project, within};

const SHIPPED: &str = include_str!("../../../plugins.toml");

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
