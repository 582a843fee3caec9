use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Kind, certificate,
    keeper::Keeper,
    machine::{free_port, program, scratch},
};

/// How long a server may take to start.
const START: Duration = Duration::from_mins(1);
/// Debian's user for those who are nobody: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;

/// How a server is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What it committed is there after a crash of its machine; slow.
    pub durable: bool,
    /// It has a certificate for `localhost`, of the authority in [`Server::ca_file`].
    pub tls: bool,
}

/// A running server, on 127.0.0.1 alone. Its user `ratebus` may do everything and needs no password.
pub struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    folder: PathBuf,
    keeper: Option<Keeper>,
}

impl Server {
    /// Starts one and waits until it answers. A missing program is a panic that says what to install.
    pub fn start(kind: Kind, options: Options) -> Self {
        let folder = scratch();
        let port = free_port();
        if options.tls {
            certificate::write(&folder);
        }
        let command = match kind {
            Kind::MariaDb => mariadb(&folder, port, options),
            Kind::Postgres => postgres(&folder, port, options),
            Kind::Sqlite => panic!("SQLite has no server"),
        };
        let keeper = Keeper::new(&folder, &command);
        let server = Self { kind, port, folder, keeper: Some(keeper) };
        server.restart();
        server
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(name);
        }
    }

    /// Starts it again and waits until it answers.
    pub fn restart(&self) {
        self.signal("start");
        let deadline = Instant::now() + START;
        while !self.try_sql(None, "SELECT 1").status.success() {
            assert!(Instant::now() < deadline, "{:?} does not start:\n{}", self.kind, self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate that its own is signed with.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Runs statements as its owner and returns what they print.
    pub fn sql(&self, database: Option<&str>, text: &str) -> String {
        let Output { status, stdout, stderr } = self.try_sql(database, text);
        assert!(status.success(), "{text}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    fn try_sql(&self, database: Option<&str>, text: &str) -> Output {
        let port = self.port.to_string();
        let mut command = if self.kind == Kind::MariaDb {
            let mut command = Command::new("mariadb");
            command.args(["--no-defaults", "-h127.0.0.1", "-P", &port, "-uratebus", "-BN", "-e", text]).args(database);
            command
        } else {
            let mut command = Command::new(postgres_program("psql"));
            command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port]);
            command.args(["-U", "ratebus", "-c", text, database.unwrap_or("postgres")]);
            command
        };
        command.output().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.end();
        }
    }
}

fn mariadb(folder: &Path, port: u16, options: Options) -> Vec<String> {
    let data = folder.join("data");
    let install = program(&["mariadb-install-db"], "mariadb-server");
    let user = if is_root() { "--user=root" } else { "--skip-name-resolve" };
    let arguments = ["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", user];
    let made = Command::new(install).args(arguments).arg(format!("--datadir={}", data.display())).output();
    expect_success(made, "mariadb-install-db");
    let init = folder.join("init.sql");
    let account = "'ratebus'@'127.0.0.1'";
    let users = format!(
        "CREATE USER IF NOT EXISTS {account};\nGRANT ALL ON *.* TO {account} WITH GRANT OPTION;\nFLUSH PRIVILEGES;\n"
    );
    fs::write(&init, users).expect("a file");
    let at = |key: &str, path: PathBuf| format!("--{key}={}", path.display());
    let mut command: Vec<String> = vec![
        program(&["mariadbd", "/usr/sbin/mariadbd"], "mariadb-server"),
        "--no-defaults".into(),
        user.into(),
        "--skip-name-resolve".into(),
        "--bind-address=127.0.0.1".into(),
        "--performance-schema=OFF".into(),
        // Each test leaves some behind.
        "--max-connections=2000".into(),
        "--innodb-buffer-pool-size=32M".into(),
        format!("--port={port}"),
        at("datadir", data),
        at("socket", folder.join("socket")),
        at("pid-file", folder.join("pid")),
        at("init-file", init),
    ];
    if !options.durable {
        command.extend(["--innodb-flush-log-at-trx-commit=0".into(), "--innodb-doublewrite=0".into()]);
    }
    if options.tls {
        command.extend([at("ssl-cert", folder.join("cert.pem")), at("ssl-key", folder.join("key.pem"))]);
    }
    command
}

fn postgres(folder: &Path, port: u16, options: Options) -> Vec<String> {
    let data = folder.join("data");
    let data = data.to_str().expect("a path of Unicode");
    // The shell writes the log, and the server everything else.
    for path in [folder.to_owned(), folder.join("key.pem")] {
        if is_root() && path.exists() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("a folder of nobody's");
        }
    }
    let mut command = Vec::new();
    if is_root() {
        let user = format!("{NOBODY}");
        command = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"].map(str::to_owned).to_vec();
    }
    let run = |name: &str, arguments: &[&str]| {
        let program = [postgres_program(name)];
        command.iter().cloned().chain(program).chain(arguments.iter().map(|&text| text.to_owned())).collect::<Vec<_>>()
    };
    let init = run("initdb", &["-D", data, "-U", "ratebus", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    expect_success(Command::new(&init[0]).args(&init[1..]).output(), "initdb");
    let port = port.to_string();
    let sockets = format!("unix_socket_directories={}", folder.display());
    let mut arguments = vec![
        "-D",
        data,
        "-p",
        &port,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        &sockets,
        "-c",
        "max_connections=1000",
        "-c",
        "dynamic_shared_memory_type=mmap",
    ];
    if !options.durable {
        arguments.extend(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
    }
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let cert = format!("ssl_cert_file={}", cert.display());
    let key = format!("ssl_key_file={}", key.display());
    if options.tls {
        arguments.extend(["-c", "ssl=on", "-c", &cert, "-c", &key]);
    }
    run("postgres", &arguments)
}

/// Where Debian puts Postgres's programs, the newest version first.
fn postgres_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().map_or_else(|| program(&[name], "postgresql"), |path| path.display().to_string())
}

fn expect_success(output: std::io::Result<Output>, name: &str) {
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
