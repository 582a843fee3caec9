use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ratebus_abi::{self as abi, Text, end, level, status};
use ratebus_model::{Arrival, SourceName};
use ratebus_sdk::{
    Clock, Context, Error, Health, HealthState, Retry,
    export::convert::{error_kind, guarded, health, text},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    excess::{Allowance, Excess},
    measures::{self, Unmeasured},
    said::Said,
};

/// How many events of an instance wait for the engine.
const QUEUE: usize = 1024;

/// Every instance that runs, by its number. One that has ended is not in it, so whatever calls late finds nothing.
static PORTS: LazyLock<RwLock<HashMap<u64, Arc<Port>>>> = LazyLock::new(RwLock::default);
/// Never given twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a library may call.
pub(super) static HOST: abi::Host = abi::Host {
    size: abi::size_of::<abi::Host>(),
    minor: abi::MINOR as u32,
    publish,
    health: set_health,
    log,
    now,
    stopped,
    count,
    gauge,
};

/// One running instance, as its library reaches it.
struct Port {
    name: SourceName,
    allowance: Allowance,
    health: Health,
    /// What makes it less than ready, however well it is.
    remark: Option<&'static str>,
    events: mpsc::Sender<(Said, Arrival)>,
    /// Somebody was told that there is no room.
    full: AtomicBool,
    ended: Mutex<Option<oneshot::Sender<Result<(), Error>>>>,
}

/// The engine's side of a port; dropping it closes the port for good.
pub(super) struct OpenPort {
    pub(super) number: u64,
    pub(super) events: mpsc::Receiver<(Said, Arrival)>,
    /// What the instance ended with.
    pub(super) ended: oneshot::Receiver<Result<(), Error>>,
    port: Arc<Port>,
}

impl OpenPort {
    /// For a run of the plugin of `ctx`.
    pub(super) fn new(ctx: &Context, remark: Option<&'static str>) -> Self {
        let (to_events, events) = mpsc::channel(QUEUE);
        let (to_ended, ended) = oneshot::channel();
        let port = Arc::new(Port {
            name: ctx.name(),
            allowance: Allowance::new(ctx.name()),
            health: ctx.health().clone(),
            remark,
            events: to_events,
            full: AtomicBool::new(false),
            ended: Mutex::new(Some(to_ended)),
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        PORTS.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&port));
        Self { number, events, ended, port }
    }

    /// Whether the instance is to be told that there is room: it was told that there is none, and half is free again.
    pub(super) fn has_room_again(&self) -> bool {
        self.events.len() <= QUEUE / 2 && self.port.full.swap(false, Ordering::SeqCst)
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        PORTS.write().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Port {
    /// Whether there was room.
    fn take(&self, said: Said) -> bool {
        let Err(refused) = self.events.try_send((said, Clock.arrival())) else { return true };
        self.full.store(true, Ordering::SeqCst);
        // The queue may have been emptied before that was seen: then nobody would tell that there is room.
        self.events.try_send(refused.into_inner()).is_ok()
    }

    fn has_ended(&self) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// Answers a call of the instance `context`. A panic must not leave this side.
fn answer(context: u64, call: impl FnOnce(&Port) -> i32) -> i32 {
    let ports = PORTS.read().unwrap_or_else(PoisonError::into_inner);
    let Some(port) = ports.get(&context).filter(|port| !port.has_ended()).cloned() else { return status::CLOSED };
    drop(ports);
    guarded(|| call(&port))
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn publish(context: u64, events: *const abi::Event, count: usize, accepted: *mut usize) -> i32 {
    let mut taken = 0;
    let result = answer(context, |port| {
        if events.is_null() || count == 0 {
            return if count == 0 { status::OK } else { status::INVALID };
        }
        // SAFETY: there is at least one, and each begins with its size.
        let stride = unsafe { (&raw const (*events).size).read_unaligned() } as usize;
        for index in 0..count {
            // SAFETY: they lie as far apart as the first is long.
            let said = unsafe { Said::read(events.byte_add(index * stride)) };
            let Some(said) = said else {
                port.allowance.refuse(Excess::Invalid, 1);
                return status::INVALID;
            };
            if !port.take(said) {
                port.allowance.refuse(Excess::Full, count - index);
                return status::FULL;
            }
            taken += 1;
        }
        status::OK
    });
    if !accepted.is_null() {
        // SAFETY: room for one number, lent for this call.
        unsafe { accepted.write_unaligned(taken) };
    }
    result
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn set_health(context: u64, state: u32, reason: Text) -> i32 {
    answer(context, |port| {
        // SAFETY: the text is lent for this call.
        let Some(reason) = (unsafe { text(reason) }) else { return status::INVALID };
        let state = match (health(state, reason), port.remark) {
            (Some(HealthState::Ready), Some(remark)) => HealthState::Degraded(remark.to_owned()),
            (Some(state), _) => state,
            (None, _) => return status::INVALID,
        };
        // The state counts whether it is logged or not.
        if port.health.state() == state || port.allowance.has_a_line(Excess::Health) {
            port.health.set(state);
        } else {
            port.health.set_unlogged(state);
        }
        status::OK
    })
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn log(context: u64, level: u32, line: Text) -> i32 {
    answer(context, |port| {
        if !port.allowance.has_a_line(Excess::Log) {
            return status::FULL;
        }
        // SAFETY: the text is lent for this call.
        let Some(line) = (unsafe { text(line) }) else { return status::INVALID };
        let plugin = port.name.as_str();
        match level {
            level::ERROR => tracing::error!(plugin, "{line}"),
            level::WARN => tracing::warn!(plugin, "{line}"),
            level::INFO => tracing::info!(plugin, "{line}"),
            _ => tracing::debug!(plugin, "{line}"),
        }
        status::OK
    })
}

extern "C" fn now(_: u64) -> i64 {
    Clock.wall().micros()
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn stopped(context: u64, how: u32, why: Text, after_ms: u32) -> i32 {
    answer(context, |port| {
        // SAFETY: the text is lent for this call.
        let why = unsafe { text(why) }.unwrap_or_default();
        let Some(end) = end_of(how, why, after_ms) else { return status::INVALID };
        if let Some(ended) = port.ended.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may wait any more.
            let _ = ended.send(end);
        }
        status::OK
    })
}

/// What an instance ended with; `None` if that is no way to end.
fn end_of(how: u32, why: String, after_ms: u32) -> Option<Result<(), Error>> {
    if how == end::FINISHED {
        return Some(Ok(()));
    }
    let error = Error::new(error_kind(how)?, why);
    let after = Retry::After(Duration::from_millis(after_ms.into()));
    // What cannot work does not work later.
    let is_later = after_ms > 0 && error.retry() != Retry::Never;
    Some(Err(if is_later { error.with_retry(after) } else { error }))
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn count(context: u64, name: Text, number: u64) -> i32 {
    // SAFETY: the text is lent for this call.
    unsafe { measure(context, name, |plugin, name| measures::count(plugin, name, number)) }
}

#[expect(unsafe_code, reason = "called by a library")]
unsafe extern "C" fn gauge(context: u64, name: Text, value: i64) -> i32 {
    // SAFETY: as above.
    unsafe { measure(context, name, |plugin, name| measures::gauge(plugin, name, value)) }
}

/// # Safety
/// The name can be read.
#[expect(unsafe_code, reason = "called by a library")]
unsafe fn measure(context: u64, name: Text, put: impl FnOnce(SourceName, &str) -> Result<(), Unmeasured>) -> i32 {
    answer(context, |port| {
        // SAFETY: the caller's promise.
        let put = unsafe { text(name) }.map_or(Err(Unmeasured::NoName), |name| put(port.name, &name));
        let (excess, status) = match put {
            Ok(()) => return status::OK,
            Err(Unmeasured::NoName) => (Excess::Invalid, status::INVALID),
            Err(Unmeasured::TooMany) => (Excess::Names, status::FULL),
        };
        port.allowance.refuse(excess, 1);
        status
    })
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use ratebus_abi::{Event, event};
    use ratebus_sdk::testkit::RecordingHost;

    use super::*;

    const HEARTBEAT: Event = Event {
        size: abi::size_of::<Event>(),
        kind: event::HEARTBEAT,
        rate: ptr::null(),
        pair: Text::EMPTY,
        reason: Text::EMPTY,
        state: 0,
        reserved: 0,
    };

    fn open(remark: Option<&'static str>) -> (OpenPort, Context) {
        let ctx = RecordingHost::new().context("test");
        (OpenPort::new(&ctx, remark), ctx)
    }

    /// As a library calls it: the status, and how many events were taken.
    #[expect(unsafe_code, reason = "as a library calls it")]
    fn published(context: u64, events: &[Event]) -> (i32, usize) {
        let mut accepted = usize::MAX;
        // SAFETY: they are there.
        let status = unsafe { publish(context, events.as_ptr(), events.len(), &raw mut accepted) };
        (status, accepted)
    }

    #[expect(unsafe_code, reason = "as a library calls it")]
    fn said_ready(context: u64) -> i32 {
        // SAFETY: an empty text.
        unsafe { set_health(context, abi::health::READY, Text::EMPTY) }
    }

    #[test]
    fn what_does_not_fit_is_not_taken_and_room_is_told_of_once() {
        let (mut port, _ctx) = open(None);
        assert_eq!(published(port.number, &vec![HEARTBEAT; QUEUE - 1]), (status::OK, QUEUE - 1));
        assert_eq!(published(port.number, &[HEARTBEAT; 3]), (status::FULL, 1));
        assert!(!port.has_room_again());
        while port.events.len() > QUEUE / 2 {
            port.events.try_recv().unwrap();
        }
        assert!(port.has_room_again() && !port.has_room_again());
        assert_eq!(published(port.number, &[HEARTBEAT]), (status::OK, 1));
    }

    #[test]
    fn what_is_no_event_is_named_by_its_place() {
        let (port, _ctx) = open(None);
        let strange = Event { kind: 99, ..HEARTBEAT };
        assert_eq!(published(port.number, &[HEARTBEAT, strange, HEARTBEAT]), (status::INVALID, 1));
        let no_rate = Event { kind: event::RATE, ..HEARTBEAT };
        assert_eq!(published(port.number, &[no_rate]), (status::INVALID, 0));
        assert_eq!(published(port.number, &[Event { size: 8, ..HEARTBEAT }]), (status::INVALID, 0));
        assert_eq!(published(port.number, &[]), (status::OK, 0));
    }

    #[test]
    fn who_calls_late_finds_it_closed() {
        let (mut port, ctx) = open(None);
        assert_eq!(said_ready(port.number), status::OK);
        assert_eq!(ctx.health().state(), HealthState::Ready);
        #[expect(unsafe_code, reason = "as a library calls it")]
        // SAFETY: a text of ours.
        let ended = unsafe { stopped(port.number, abi::end::RATE_LIMITED, Text::new("gone"), 1500) };
        assert_eq!(ended, status::OK);
        let error = port.ended.try_recv().unwrap().unwrap_err();
        assert_eq!((error.to_string(), error.retry()), ("gone".to_owned(), Retry::After(Duration::from_millis(1500))));
        assert_eq!(published(port.number, &[HEARTBEAT]), (status::CLOSED, 0));
        let number = port.number;
        drop(port);
        let (next, _ctx) = open(None);
        assert_ne!(next.number, number, "a number is not used again");
        assert_eq!((said_ready(number), published(number, &[HEARTBEAT])), (status::CLOSED, (status::CLOSED, 0)));
    }

    #[test]
    #[expect(unsafe_code, reason = "as a library calls it")]
    fn however_often_its_health_changes_the_newest_counts() {
        let (port, ctx) = open(None);
        for number in 0..1000 {
            // SAFETY: a text of ours.
            unsafe { set_health(port.number, abi::health::DEGRADED, Text::new(&number.to_string())) };
        }
        assert_eq!(ctx.health().state(), HealthState::Degraded("999".to_owned()));
    }

    #[test]
    fn when_to_try_again_is_for_what_can_work() {
        let retry = |how, after_ms| end_of(how, String::new(), after_ms).unwrap().unwrap_err().retry();
        assert_eq!(retry(end::RATE_LIMITED, 1), Retry::After(Duration::from_millis(1)));
        assert_eq!((retry(end::RATE_LIMITED, 0), retry(end::CONFIG, 1)), (Retry::Backoff, Retry::Never));
        assert!(end_of(99, String::new(), 0).is_none());
    }

    #[test]
    fn a_library_that_may_be_any_is_never_quite_ready() {
        let (port, ctx) = open(Some("any"));
        said_ready(port.number);
        assert_eq!(ctx.health().state(), HealthState::Degraded("any".to_owned()));
    }
}
