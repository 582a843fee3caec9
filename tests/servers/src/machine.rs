use std::{
    hash::{BuildHasher, RandomState},
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

/// A port that nobody listens on, below those that connections get: such a one may be taken while the server is down, even
/// by a client that looks for it.
pub(crate) fn free_port() -> u16 {
    let random = || 20_000 + u16::try_from(RandomState::new().hash_one(()) % 12_000).unwrap_or_default();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(random).find(is_free).expect("a free port")
}
