use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder in memory where there is one: making a server's files on a disk takes seconds.
pub(crate) fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    // The keeper removes it, also when a test is killed.
    tempfile::Builder::new().prefix("ratebus-test-").tempdir_in(place).expect("a folder").keep()
}

/// The first of these that can be run.
pub(crate) fn program(names: &[&str], package: &str) -> String {
    let runs = |name: &&&str| Command::new(**name).arg("--version").output().is_ok();
    let found = names.iter().find(runs).map(|&name| name.to_owned());
    found.unwrap_or_else(|| panic!("{} is missing: install {package}, as tests/run does", names[0]))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}
