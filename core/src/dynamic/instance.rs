use std::{
    ffi::c_void,
    ptr,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use ratebus_abi::{self as abi, Buffer, Text, status};
use ratebus_model::SourceName;
use ratebus_sdk::{ConfigError, Error, ErrorKind, Interest, Retry};
use tokio::{sync::oneshot, time::timeout};

use super::{LibraryComponent, Refusal, library::SinkCalls};
use crate::registry::BuildError;

/// How long a call of a library may take. More than any honest one needs: none of them waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for what a library has to say of a failed call.
const WORDS: usize = 16 * 1024;

/// What an instance is made of.
pub(super) struct Given {
    pub(super) name: SourceName,
    /// A JSON object.
    pub(super) config: String,
    /// The `[pairs.*]` tables, a JSON object.
    pub(super) pairs: String,
}

/// An instance that was just made.
struct Made {
    handle: *mut c_void,
    keeps_pairs: bool,
}

type Call = Box<dyn FnOnce(*mut c_void) + Send>;

/// An instance of a library's component, and the thread that makes all calls of it, one after the other.
///
/// A call that does not return costs that thread, and nothing else waits for it. Dropping destroys the instance as soon
/// as the thread is free.
pub(crate) struct Instance {
    name: SourceName,
    pub(super) component: &'static LibraryComponent,
    /// Whether it is to be made anew when the `[pairs.*]` tables change.
    pub(super) keeps_pairs: bool,
    calls: mpsc::Sender<Call>,
    destroyed: oneshot::Receiver<()>,
}

impl Instance {
    /// An instance of `component`. Waits for it.
    pub(super) fn create(component: &'static LibraryComponent, given: Given) -> Result<Self, BuildError> {
        let name = given.name;
        let (calls, receiver) = mpsc::channel::<Call>();
        let (created, answer) = mpsc::sync_channel(1);
        let (done, destroyed) = oneshot::channel();
        let thread = move || {
            let made = match create(component, &given) {
                Ok(made) => made,
                Err(why) => {
                    // Whoever asked may have given up.
                    let _ = created.send(Err(why));
                    return;
                }
            };
            let handle = made.handle;
            let _ = created.send(Ok(made.keeps_pairs));
            for call in receiver {
                call(handle);
            }
            // SAFETY: `create` made it, and this is the last call: the channel of calls is at its end.
            #[expect(unsafe_code, reason = "a call of a library")]
            unsafe {
                (component.destroy)(handle);
            }
            let _ = done.send(());
        };
        let spawned = thread::Builder::new().name(format!("plugin {name}")).spawn(thread);
        if let Err(error) = spawned {
            return Err(BuildError::Config(ConfigError::new("", format!("there is no thread for it: {error}"))));
        }
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(keeps_pairs)) => Ok(Self { name, component, keeps_pairs, calls, destroyed }),
            Ok(Err(why)) => Err(why),
            Err(RecvTimeoutError::Timeout) => {
                count_lost(name, "create");
                Err(BuildError::Refused(Refusal::Hangs("create")))
            }
            // The thread is ours, and does not panic before it answers.
            Err(RecvTimeoutError::Disconnected) => {
                Err(BuildError::Refused(Refusal::Panics("create", "the thread ended".to_owned())))
            }
        }
    }

    /// Makes the call `what` of the library, in the instance's thread. One that does not return in time is the last.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(*mut c_void) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let call = move |handle| drop(answer.send(call(handle)));
        // Without a thread nobody answers.
        let _ = self.calls.send(Box::new(call));
        match timeout(PATIENCE, answered).await {
            Ok(Ok(value)) => Ok(value),
            _ => Err(self.given_up(what)),
        }
    }

    /// What a sink wants to hear: of each subject the newest value. Waits for the library.
    pub(super) fn interests(&self, sink: SinkCalls) -> Result<Vec<Interest>, BuildError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let call = move |handle| {
            // SAFETY: the handle is the instance's, and the room lives until it returns.
            #[expect(unsafe_code, reason = "a call of a library")]
            let told = words(|patterns| unsafe { (sink.interests)(handle, patterns) });
            let _ = answer.send(told);
        };
        let _ = self.calls.send(Box::new(call));
        let (status, text) = answered.recv_timeout(PATIENCE).map_err(|_| {
            count_lost(self.name, "interests");
            Refusal::Hangs("interests")
        })?;
        let wrong = |what: String| Refusal::Malformed(format!("the interests of {:?}: {what}", self.component.name));
        if status != status::OK {
            return Err(wrong(format!("status {status}")).into());
        }
        let interest =
            |line: &str| line.parse().map(Interest::latest).map_err(|error| wrong(format!("{error}")).into());
        text.lines().map(interest).collect()
    }

    /// Destroys the instance, and waits for that.
    pub(super) async fn destroy(self) -> Result<(), Error> {
        let Self { name, component, calls, destroyed, .. } = self;
        drop(calls);
        match timeout(PATIENCE, destroyed).await {
            Ok(_) => Ok(()),
            Err(_) => Err(given_up(name, component, "destroy")),
        }
    }

    fn given_up(&self, what: &'static str) -> Error {
        given_up(self.name, self.component, what)
    }
}

fn given_up(name: SourceName, component: &LibraryComponent, what: &'static str) -> Error {
    count_lost(name, what);
    let message = format!("`{what}` of {} does not return within {PATIENCE:?}", component.name);
    Error::new(ErrorKind::Internal, message).with_retry(Retry::Never)
}

/// Counts a call that did not return, and with it a thread.
fn count_lost(name: SourceName, what: &'static str) {
    metrics::counter!("ratebus_library_calls_lost_total", "plugin" => name.to_string(), "call" => what).increment(1);
}

#[expect(unsafe_code, reason = "a call of a library")]
fn create(component: &LibraryComponent, given: &Given) -> Result<Made, BuildError> {
    let mut setup = abi::Setup {
        size: abi::size_of::<abi::Setup>(),
        keeps_pairs: 0,
        name: Text::new(given.name.as_str()),
        config: Text::new(&given.config),
        pairs: Text::new(&given.pairs),
    };
    let mut handle = ptr::null_mut();
    // SAFETY: what it is made of, room and handle live until it returns.
    let (status, words) = words(|error| unsafe { (component.create)(&raw mut setup, error, &raw mut handle) });
    match status {
        status::OK if !handle.is_null() => Ok(Made { handle, keeps_pairs: setup.keeps_pairs != 0 }),
        status::PANICKED => Err(BuildError::Refused(Refusal::Panics("create", words))),
        _ => Err(BuildError::Config(problems(&words))),
    }
}

/// The problems that `create` tells: a line each, key and message with a tab between them.
fn problems(words: &str) -> ConfigError {
    let mut error = ConfigError::default();
    for line in words.lines() {
        let (key, message) = line.split_once('\t').unwrap_or(("", line));
        error.add(key, message);
    }
    if words.is_empty() { ConfigError::new("", "refused without a reason") } else { error }
}

/// What a call with a buffer returned and wrote.
pub(super) fn words(call: impl FnOnce(*mut Buffer) -> i32) -> (i32, String) {
    let mut room = vec![0; WORDS];
    let mut buffer = Buffer::new(&mut room);
    let status = call(&raw mut buffer);
    let length = buffer.length.min(room.len());
    let text = String::from_utf8_lossy(&room[..length]);
    (status, text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect())
}
