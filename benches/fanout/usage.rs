//! What a process has used, and what this one may.

use std::{fs, process::Child, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Of all its threads, in user and kernel mode: to the nanosecond, unlike `/proc/PID/stat`.
    pub(crate) cpu: Duration,
    /// Resident, in bytes.
    pub(crate) memory: u64,
}

impl Usage {
    /// The CPU time spent since then.
    pub(crate) fn since(self, before: Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }

    pub(crate) fn of(process: &Child) -> Self {
        let folder = format!("/proc/{}", process.id());
        let threads = fs::read_dir(format!("{folder}/task")).unwrap();
        let spent = |thread: std::io::Result<fs::DirEntry>| {
            // A thread may have ended meanwhile.
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Self { cpu: Duration::from_nanos(threads.filter_map(spent).sum()), memory: kib * 1024 }
    }
}

/// Lets this process have as many connections as it can.
pub(crate) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
