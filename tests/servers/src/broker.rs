use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    certificate,
    keeper::Keeper,
    machine::{free_port, program, scratch},
};

/// How long a broker may take to start.
const START: Duration = Duration::from_mins(1);

/// Everybody is a user who may not publish.
const NATS_READ_ONLY: &str = r#"
no_auth_user: reader
authorization { users: [{ user: reader, password: reader, permissions: { publish: { deny: ">" } } }] }
"#;

/// A kind of broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// Redis, which stores nothing on a disk.
    Redis,
    /// NATS.
    Nats,
}

/// How a broker is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct BrokerOptions {
    /// What it asks for; of NATS' user `ratebus`, of Redis' default one.
    pub password: Option<&'static str>,
    /// It speaks TLS alone, with a certificate for `localhost` of the authority in [`Broker::ca_file`].
    pub tls: bool,
}

/// A running broker, on 127.0.0.1 alone.
pub struct Broker {
    kind: BrokerKind,
    options: BrokerOptions,
    port: u16,
    folder: PathBuf,
    keeper: Option<Keeper>,
}

impl Broker {
    /// Starts one and waits until it listens. A missing program is a panic that says what to install.
    pub fn start(kind: BrokerKind, options: BrokerOptions) -> Self {
        Self::start_with(kind, options, false)
    }

    /// As [`Broker::start`], one at which nobody may publish.
    pub fn start_read_only(kind: BrokerKind) -> Self {
        Self::start_with(kind, BrokerOptions::default(), true)
    }

    fn start_with(kind: BrokerKind, options: BrokerOptions, read_only: bool) -> Self {
        let (folder, port) = (scratch(), free_port());
        if options.tls {
            certificate::write(&folder);
        }
        let command = match kind {
            BrokerKind::Redis => redis(&folder, port, options, read_only),
            BrokerKind::Nats => nats(&folder, port, options, read_only),
        };
        let keeper = Some(Keeper::new(&folder, &command));
        let broker = Self { kind, options, port, folder, keeper };
        broker.restart();
        broker
    }

    /// Where it is, with the password it asks for.
    pub fn url(&self) -> String {
        self.url_with(self.options.password)
    }

    /// Where it is, with this password or none.
    pub fn url_with(&self, password: Option<&str>) -> String {
        let (scheme, user) = match (self.kind, self.options.tls) {
            (BrokerKind::Redis, false) => ("redis", ""),
            (BrokerKind::Redis, true) => ("rediss", ""),
            (BrokerKind::Nats, false) => ("nats", "ratebus"),
            (BrokerKind::Nats, true) => ("tls", "ratebus"),
        };
        let encoded = password.map(|password| utf8_percent_encode(password, NON_ALPHANUMERIC));
        let credentials = encoded.map(|password| format!("{user}:{password}@")).unwrap_or_default();
        let host = if self.options.tls { "localhost" } else { "127.0.0.1" };
        format!("{scheme}://{credentials}{host}:{}", self.port)
    }

    /// Where it is, with the user that it asks a password of, and without the password.
    pub fn url_of_user(&self) -> String {
        let url = self.url_with(None);
        if self.kind == BrokerKind::Nats && self.options.password.is_some() {
            return url.replace("://", "://ratebus@");
        }
        url
    }

    /// The certificate that its own is signed with.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Kills it as `kill -9` does; what it kept is lost.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(name);
        }
    }

    /// Starts it again and waits until it listens.
    pub fn restart(&self) {
        self.signal("start");
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "{:?} does not start:\n{}", self.kind, self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// What it has written about itself.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Runs a command on a Redis without password and TLS, and returns what it answers.
    pub fn redis_command(&self, words: &[&str]) -> String {
        let mut command = Command::new(program(&["redis-cli"], "redis-tools"));
        let output = command.args(["-p", &self.port.to_string()]).args(words).output().expect("redis-cli");
        let answer = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success() && !answer.starts_with("ERR"), "{words:?}: {answer}");
        answer
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.end();
        }
    }
}

fn redis(folder: &Path, port: u16, options: BrokerOptions, read_only: bool) -> Vec<String> {
    let (port, file) = (port.to_string(), |name: &str| folder.join(name).display().to_string());
    let mut command = vec![program(&["redis-server"], "redis-server")];
    let mut add = |arguments: &[&str]| command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    add(&["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &file("")]);
    if options.tls {
        add(&["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
        add(&["--tls-cert-file", &file("cert.pem"), "--tls-key-file", &file("key.pem")]);
        add(&["--tls-ca-cert-file", &file("ca.pem")]);
    } else {
        add(&["--port", &port]);
    }
    if let Some(password) = options.password {
        add(&["--requirepass", password]);
    }
    if read_only {
        add(&["--rename-command", "PUBLISH", ""]);
    }
    command
}

fn nats(folder: &Path, port: u16, options: BrokerOptions, read_only: bool) -> Vec<String> {
    let (port, file) = (port.to_string(), |name: &str| folder.join(name).display().to_string());
    let mut command = vec![program(&["nats-server", "/usr/sbin/nats-server"], "nats-server")];
    let mut add = |arguments: &[&str]| command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    add(&["--addr", "127.0.0.1", "--port", &port]);
    if options.tls {
        add(&["--tls", "--tlscert", &file("cert.pem"), "--tlskey", &file("key.pem")]);
    }
    if let Some(password) = options.password {
        add(&["--user", "ratebus", "--pass", password]);
    }
    if read_only {
        fs::write(file("nats.conf"), NATS_READ_ONLY).expect("a file");
        add(&["--config", &file("nats.conf")]);
    }
    command
}
