use std::{
    ffi::c_void,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    task::{self, Poll},
    time::Duration,
};

use ratebus_abi::{self as abi, Buffer, end, status};
use ratebus_model::{Epoch, Headers, Message, Payload, SourceName, Subject, Timestamp, Version, wire::WirePayload};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::{AbortHandle, JoinError},
};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;

use super::{
    convert::{delivered, error_code, guarded, read_rate},
    host::LibraryHost,
    log, measures,
};
use crate::{
    Clock, ConfigError, Context, Env, Error, ErrorKind, Factory, Health, Inbox, PollInbox, Retry, Sink, Source,
    gather::read_config,
};

/// How many messages wait for a sink here; ratebus holds back the others, of each subject the newest.
const INBOX: usize = 256;

/// Where all instances of this library run.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).thread_name("ratebus library").enable_all().build());

/// A component that was built.
pub(super) enum Built {
    Source(Box<dyn Source>),
    Sink(Box<dyn Sink>),
}

/// What a handle points to. The calls of one instance come one after the other.
struct Instance {
    name: SourceName,
    /// Until it starts.
    built: Option<Built>,
    running: Option<Running>,
}

struct Running {
    host: Arc<LibraryHost>,
    cancel: CancellationToken,
    task: AbortHandle,
    inbox: mpsc::Sender<Arc<Message>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// [`abi::Component::create`].
///
/// # Safety
/// What it is made of can be read, its answers and the buffer written, and there is room for a handle.
#[expect(unsafe_code, reason = "memory of ratebus")]
pub(super) unsafe fn create<T: Factory>(
    setup: *mut abi::Setup,
    error: *mut Buffer,
    instance: *mut *mut c_void,
    build: impl FnOnce(T::Config, &Env) -> Result<Built, ConfigError>,
) -> i32 {
    // SAFETY: the caller's promise.
    let texts = unsafe { ((*setup).name.read(), (*setup).config.read(), (*setup).pairs.read()) };
    let (Ok(name), Ok(config), Ok(pairs)) = texts else { return status::INVALID };
    let made = catch_unwind(AssertUnwindSafe(|| {
        let name: SourceName = name.parse().map_err(|error| ConfigError::new("", format!("{error}")))?;
        let env = Env::new(name, Arc::new(read(pairs)?), Arc::default(), Arc::default(), &[]);
        let component = build(read_config(&read(config)?)?, &env)?;
        let made = Instance { name, built: Some(component), running: None };
        Ok::<_, ConfigError>((made, env.is_built_from_pairs()))
    }));
    let (status, words) = match made {
        Ok(Ok((made, keeps_pairs))) => {
            // SAFETY: there is room for both.
            unsafe {
                (*setup).keeps_pairs = keeps_pairs.into();
                instance.write(Box::into_raw(Box::new(made)).cast());
            }
            return status::OK;
        }
        Ok(Err(error)) => (status::INVALID, lines(&error)),
        Err(panic) => (status::PANICKED, words(&*panic).to_owned()),
    };
    // SAFETY: the buffer is lent for this call.
    unsafe { (*error).write(&words) };
    status
}

/// A JSON object of ratebus.
fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, ConfigError> {
    serde_json::from_str(json).map_err(|error| ConfigError::new("", error.to_string()))
}

/// A line for each problem: the key, a tab, and what is wrong.
fn lines(error: &ConfigError) -> String {
    let line = |problem: &crate::Problem| format!("{}\t{}", problem.key, problem.message.replace('\n', " "));
    error.problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    words.unwrap_or("no message")
}

/// [`abi::Component::start`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn start(
    instance: *mut c_void,
    host: *const abi::Host,
    context: u64,
    error: *mut Buffer,
) -> i32 {
    guarded(|| {
        // SAFETY: `create` made it, and nobody else uses it now; the host is there for good.
        let (instance, host) = unsafe { (&mut *instance.cast::<Instance>(), &*host) };
        let words = match (&*RUNTIME, instance.built.take()) {
            (Ok(runtime), Some(built)) => {
                instance.running = Some(run(runtime, built, LibraryHost::new(instance.name, host, context)));
                return status::OK;
            }
            (Err(error), _) => format!("no async runtime: {error}"),
            (Ok(_), None) => "it was started before".to_owned(),
        };
        // SAFETY: the buffer is lent for this call.
        unsafe { (*error).write(&words) };
        status::FAILED
    })
}

fn run(runtime: &Runtime, built: Built, host: LibraryHost) -> Running {
    let (host, cancel) = (Arc::new(host), CancellationToken::new());
    let (inbox, messages) = mpsc::channel(INBOX);
    let to_health = Arc::clone(&host);
    let health = Health::told_to(host.name().as_str(), move |state, _| to_health.tell_health(state));
    let ctx = Context::new(host.name(), epoch(), Arc::clone(&host) as _, health, cancel.clone());
    let mut work = Box::pin(async move {
        match built {
            Built::Source(source) => source.run(ctx).await,
            Built::Sink(sink) => sink.run(Inbox::new(vec![Box::new(Delivered(messages))]), ctx).await,
        }
    });
    let recorder = measures::ToHost(Arc::clone(&host));
    let work = poll_fn(move |cx| metrics::with_local_recorder(&recorder, || work.as_mut().poll(cx)));
    let task = runtime.spawn(work.with_subscriber(log::ToHost(Arc::clone(&host))));
    let abort = task.abort_handle();
    runtime.spawn(tell_end(Arc::clone(&host), task));
    Running { host, cancel, task: abort, inbox }
}

/// A number that no other run has.
fn epoch() -> Epoch {
    Epoch::new(getrandom::u64().unwrap_or_else(|_| Clock.wall().micros().unsigned_abs()))
}

async fn tell_end(host: Arc<LibraryHost>, task: impl Future<Output = Result<Result<(), Error>, JoinError>>) {
    match task.await {
        Ok(Ok(())) => host.stopped(end::FINISHED, "", Duration::ZERO),
        Ok(Err(error)) => {
            let (kind, after) = match error.retry() {
                // What must never be tried again says so by its kind.
                Retry::Never => (ErrorKind::Config, Duration::ZERO),
                Retry::After(delay) => (error.kind(), delay),
                Retry::Now | Retry::Backoff => (error.kind(), Duration::ZERO),
            };
            host.stopped(error_code(kind), &error.to_string(), after);
        }
        Err(error) => {
            let words = error
                .try_into_panic()
                .map_or("was aborted".to_owned(), |panic| format!("panicked: {}", words(&*panic)));
            host.stopped(end::INTERNAL, &words, Duration::ZERO);
        }
    }
}

/// Calls `use_it` with the instance, if it runs.
///
/// # Safety
/// [`create`] made it, and nobody else uses it now.
#[expect(unsafe_code, reason = "called by ratebus")]
unsafe fn with_running(instance: *mut c_void, use_it: impl FnOnce(&Running) -> i32) -> i32 {
    // SAFETY: the caller's promise.
    let instance = unsafe { &*instance.cast::<Instance>() };
    guarded(|| instance.running.as_ref().map_or(status::CLOSED, use_it))
}

/// [`abi::Component::on_writable`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn on_writable(instance: *mut c_void) {
    // SAFETY: the calls of an instance come one after the other.
    unsafe {
        with_running(instance, |running| {
            running.host.on_writable();
            status::OK
        });
    }
}

/// [`abi::Component::stop`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn stop(instance: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        with_running(instance, |running| {
            running.cancel.cancel();
            status::OK
        });
    }
}

/// [`abi::Component::destroy`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn destroy(instance: *mut c_void) {
    guarded(|| {
        // SAFETY: `create` made it, and this is the last call of it.
        drop(unsafe { Box::from_raw(instance.cast::<Instance>()) });
        status::OK
    });
}

/// [`abi::Component::interests`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn interests(instance: *mut c_void, patterns: *mut Buffer) -> i32 {
    guarded(|| {
        // SAFETY: as above.
        let instance = unsafe { &*instance.cast::<Instance>() };
        let Some(Built::Sink(sink)) = &instance.built else { return status::INVALID };
        let wanted: Vec<String> = sink.interests().iter().map(|interest| interest.pattern.to_string()).collect();
        // SAFETY: the buffer is lent for this call.
        unsafe { (*patterns).write(&wanted.join("\n")) };
        status::OK
    })
}

/// [`abi::Component::deliver`].
#[expect(unsafe_code, reason = "called by ratebus")]
pub(super) unsafe extern "C" fn deliver(
    instance: *mut c_void,
    messages: *const abi::Message,
    count: usize,
    accepted: *mut usize,
) -> i32 {
    let mut taken = 0;
    let deliver = |running: &Running| {
        for index in 0..count {
            let Ok(room) = running.inbox.try_reserve() else { return status::FULL };
            // SAFETY: there are so many, as far apart as the first is long.
            let message = unsafe {
                let stride = (&raw const (*messages).size).read_unaligned() as usize;
                message(&messages.byte_add(index * stride).read_unaligned())
            };
            // What a newer ratebus says is not for us.
            if let Some(message) = message {
                room.send(Arc::new(message));
            }
            taken += 1;
        }
        status::OK
    };
    // SAFETY: the calls of an instance come one after the other.
    let status = unsafe { with_running(instance, deliver) };
    // SAFETY: room for a number, lent for this call.
    unsafe { accepted.write_unaligned(taken) };
    status
}

#[expect(unsafe_code, reason = "memory of ratebus")]
unsafe fn message(given: &abi::Message) -> Option<Message> {
    let arrival = Clock.arrival();
    // SAFETY: what a message points to is lent for the call.
    let (subject, rate, json) = unsafe { (given.subject.read().ok()?, read_rate(given.rate), given.json.read().ok()?) };
    let payload = match rate {
        // SAFETY: as above.
        Some(rate) => Payload::from(unsafe { delivered(&rate, arrival.at) }?),
        None => serde_json::from_str::<WirePayload>(json).ok()?.into_payload(arrival, Duration::ZERO).ok()?,
    };
    Some(Message {
        subject: subject.parse::<Subject>().ok()?,
        reply: None,
        headers: Headers::new(),
        payload,
        version: Version { epoch: Epoch::new(given.epoch), sequence: given.sequence },
        published_at: Timestamp::from_micros(given.published_micros),
    })
}

struct Delivered(mpsc::Receiver<Arc<Message>>);

impl PollInbox for Delivered {
    fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.0.poll_recv(cx)
    }
}
