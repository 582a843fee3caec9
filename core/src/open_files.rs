use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the process open as many files as it may. Every client is one, and the limit that shells and service managers
/// start with is often 1024, for the sake of programs that use `select`.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(limit = limit.maximum, "open files"),
        Err(error) => tracing::warn!(limit = limit.current, %error, "the limit of open files stays"),
    }
}
