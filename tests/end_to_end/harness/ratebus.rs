use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::{eventually, within};

/// How a process is to be started.
#[derive(Clone)]
pub(crate) struct Launch {
    folder: Arc<TempDir>,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    shell: Option<String>,
}

impl Launch {
    /// The shipped config on free ports, with its database in a folder of its own.
    pub(crate) fn new() -> Self {
        let launch = Self::as_configured();
        let database = launch.folder().join("ratebus.db");
        launch.set(&format!("plugin.api.config.database=sqlite://{}", database.display()))
    }

    /// The shipped config on free ports, with the database that it or a variable names.
    pub(crate) fn as_configured() -> Self {
        Self::bare().set("listener.user-api.listen=127.0.0.1:0").set("role.user-api.metrics.listen=127.0.0.1:0")
    }

    /// Another config, whose listener `exchange-rate` is on a free port.
    pub(crate) fn of(config: &Path) -> Self {
        Self::bare().arg("--config").arg(config.to_str().unwrap())
    }

    fn bare() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self { folder, args: Vec::new(), variables: Vec::new(), shell: None }
            .set("listener.exchange-rate.listen=127.0.0.1:0")
            .set("metrics.listen=127.0.0.1:0")
            .set("runtime.shutdown_delay=0s")
    }

    /// Takes rates from the scripted exchange at `url`.
    pub(crate) fn exchange(self, url: &str) -> Self {
        self.set(&format!("plugin.kraken.config.endpoint={url}"))
    }

    /// Overrides one key.
    pub(crate) fn set(mut self, key_and_value: &str) -> Self {
        self.args.extend(["--set".to_owned(), key_and_value.to_owned()]);
        self
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Adds an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The environment variables it gets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Lets it have so many files and sockets open.
    pub(crate) fn most_files(self, number: u32) -> Self {
        self.shell(&format!("ulimit -n {number} && exec \"$0\" \"$@\""))
    }

    /// Starts it by a script, which gets the program as `$0` and its arguments.
    pub(crate) fn shell(mut self, script: &str) -> Self {
        self.shell = Some(script.to_owned());
        self
    }

    /// The folder it is started in.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The command, not yet started, in its own folder: no `plugins.toml` there, so the built-in config is used.
    pub(crate) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_ratebus");
        let mut command = Command::new(if self.shell.is_some() { "/bin/sh" } else { binary });
        if let Some(script) = &self.shell {
            command.args(["-ec", script, binary]);
        }
        command.args(&self.args).current_dir(self.folder.path()).env_clear().kill_on_drop(true);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it listens and has its routes. It may be started again later: the folder is the same.
    pub(crate) async fn start(&self) -> Ratebus {
        let mut child = self.command().spawn().unwrap();
        let log = Log::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = [log.follow(stdout), log.follow(stderr)];
        let mut ratebus = Ratebus { child, log, readers, addresses: HashMap::new(), _folder: self.folder.clone() };
        ratebus.addresses = ratebus.wait_for_addresses().await;
        for listener in ratebus.addresses.keys().filter(|name| *name != "metrics") {
            eventually("the routes", || has_routes(ratebus.url(listener))).await;
        }
        ratebus
    }
}

/// What a process wrote, line by line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Reads until the other end is closed.
    fn follow(&self, from: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let lines = self.0.clone();
        tokio::spawn(async move {
            let mut from = BufReader::new(from).lines();
            while let Ok(Some(line)) = from.next_line().await {
                lines.lock().unwrap().push(line);
            }
        })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A running process. Killed when dropped.
pub(crate) struct Ratebus {
    child: Child,
    log: Log,
    readers: [JoinHandle<()>; 2],
    addresses: HashMap<String, SocketAddr>,
    _folder: Arc<TempDir>,
}

impl Ratebus {
    /// The address of a listener: `http://127.0.0.1:40123`.
    pub(crate) fn url(&self, listener: &str) -> String {
        match self.addresses.get(listener) {
            Some(address) => format!("http://{address}"),
            None => panic!("no listener {listener}; log:\n{}", self.log.lines().join("\n")),
        }
    }

    /// Waits until `/readyz` of a listener says 200.
    pub(crate) async fn ready(&self, listener: &str) {
        let url = format!("{}/readyz", self.url(listener));
        let asked = eventually("readiness", || async {
            let status = reqwest::get(&url).await.ok()?.status();
            status.is_success().then_some(())
        });
        tokio::select! {
            () = asked => {}
            () = tokio::time::sleep(super::DEADLINE) => panic!("not ready; log:\n{}", self.log.lines().join("\n")),
        }
    }

    /// Waits for a line of its log that contains `text`.
    pub(crate) async fn logged(&self, text: &str) -> String {
        eventually(&format!("the log line {text:?}"), || async {
            self.log.lines().into_iter().find(|line| line.contains(text))
        })
        .await
    }

    /// The sum of a metric over its labels, 0 when there is none.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        metric(&self.url("metrics"), name).await
    }

    /// The sum of a metric over those of its labels' values that contain `label`.
    pub(crate) async fn metric_of(&self, name: &str, label: &str) -> u64 {
        sum(&self.url("metrics"), name, label).await
    }

    /// Every line of its log so far that contains `text`.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        self.log.lines().into_iter().filter(|line| line.contains(text)).collect()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Ends it without a warning, at whatever it is doing.
    pub(crate) async fn kill(mut self) {
        within("the process to end", self.child.kill()).await.unwrap();
    }

    /// Asks it to stop, and waits until it has finished everything.
    pub(crate) async fn stop(self) {
        self.signal("TERM");
        let (status, log) = self.exited().await;
        assert!(status.success(), "{status}; log:\n{}", log.join("\n"));
    }

    /// Waits for its end; everything that it wrote.
    pub(crate) async fn exited(mut self) -> (ExitStatus, Vec<String>) {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        for reader in self.readers {
            within("the log to end", reader).await.unwrap();
        }
        (status, self.log.lines())
    }

    async fn wait_for_addresses(&mut self) -> HashMap<String, SocketAddr> {
        let log = self.log.clone();
        let listening = eventually("the process to listen", || async {
            let lines = log.lines();
            lines.iter().any(|line| line.contains("ratebus runs")).then_some(lines)
        });
        let lines = tokio::select! {
            lines = listening => lines,
            status = self.child.wait() => panic!("ended with {status:?}; log:\n{}", self.log.lines().join("\n")),
        };
        let address = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some((line["listener"].as_str()?.to_owned(), line["address"].as_str()?.parse().ok()?))
        };
        lines.iter().filter_map(address).collect()
    }
}

/// Some, once the listener has the routes of every plugin: until then it is starting for the paths it does not know.
async fn has_routes(url: String) -> Option<()> {
    let answer = reqwest::get(format!("{url}/nothing")).await.ok()?.text().await.ok()?;
    (!answer.contains("The service is starting.")).then_some(())
}

/// A path below the project's root.
pub(crate) fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The sum of a metric over its labels at the operator's listener, 0 when there is none.
pub(crate) async fn metric(url: &str, name: &str) -> u64 {
    sum(url, name, "").await
}

async fn sum(url: &str, name: &str, label: &str) -> u64 {
    let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let of_name =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}
