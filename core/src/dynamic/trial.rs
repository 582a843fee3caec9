//! Loading a library runs its initialisers, within the dynamic linker's lock: one that hangs there would keep every other
//! library, and the end of the process, waiting for good. So a process of its own loads it first.

use std::{
    io,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Refusal, image::Image};

/// How long it may take: more than any honest library needs on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the process is looked at.
const STEP: Duration = Duration::from_millis(5);

/// The arguments with which this very program does what [`try_library`] does.
pub(crate) type Trial = &'static [&'static str];

/// Loads the library that is the standard input, and does nothing else with it. Whether that ends, and how, is for the
/// process that started this one, which it does not outlive.
///
/// # Errors
/// The operating system does not let it end with its parent.
pub fn try_library() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // SAFETY: as where it is loaded to be used. What is wrong with it besides is found there.
    #[expect(unsafe_code, reason = "loading a library")]
    let loaded = unsafe { Library::open(Some("/proc/self/fd/0"), RTLD_NOW | RTLD_LOCAL) };
    std::mem::forget(loaded);
    Ok(())
}

/// Has a process of its own load `image` and end.
pub(super) fn run(trial: Trial, image: &Image) -> Result<(), Refusal> {
    let impossible = |error: io::Error| Refusal::NotLoaded(format!("there is no process to try it in: {error}"));
    let mut process = start(trial, image).map_err(impossible)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match process.try_wait().map_err(impossible)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(Refusal::Crashes(status.to_string())),
            None if Instant::now() < deadline => thread::sleep(STEP),
            None => {
                // It may have ended just now.
                let _ = process.kill();
                process.wait().map_err(impossible)?;
                return Err(Refusal::Hangs("dlopen"));
            }
        }
    }
}

fn start(trial: Trial, image: &Image) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(trial).stdin(image.descriptor()?).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn()
}
