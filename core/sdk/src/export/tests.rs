//! The library's side, against a ratebus of which a test says how much room it has.

use std::{
    ffi::c_void,
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ratebus_abi::{self as abi, Buffer, Event, Text, event, status};
use ratebus_model::{
    Limits, Market, Outgoing, Pair, PairList, PairState, Price, Rate, RateValue, SourceName, Subject, Version,
};
use serde::Deserialize;

use super::{host::LibraryHost, source};
use crate::{
    Clock, ConfigError, Context, Env, Error, ErrorKind, Factory, Host, PairSettings, PairTable, Retry, Source,
    testkit::{RecordingHost, eventually},
};

static ROOM: AtomicUsize = AtomicUsize::new(0);
static HEARD: Mutex<Vec<(u32, u64)>> = Mutex::new(Vec::new());

#[expect(unsafe_code, reason = "as ratebus does it")]
unsafe extern "C" fn publish(_: u64, events: *const Event, count: usize, accepted: *mut usize) -> i32 {
    let mut taken = 0;
    while taken < count && ROOM.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1)).is_ok() {
        // SAFETY: there are so many.
        let event = unsafe { &*events.add(taken) };
        // SAFETY: a rate has one.
        let mantissa = if event.kind == event::RATE { unsafe { (*event.rate).bid.mantissa } } else { 0 };
        HEARD.lock().unwrap().push((event.kind, mantissa));
        taken += 1;
    }
    // SAFETY: room for a number.
    unsafe { accepted.write(taken) };
    if taken == count { status::OK } else { status::FULL }
}

extern "C" fn text(_: u64, _: u32, _: Text) -> i32 {
    status::OK
}

extern "C" fn now(_: u64) -> i64 {
    0
}

/// How often and when an instance said that it ended.
static ENDS: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

extern "C" fn stopped(_: u64, how: u32, _: Text, after_ms: u32) -> i32 {
    ENDS.lock().unwrap().push((how, after_ms));
    status::OK
}

extern "C" fn count(_: u64, _: Text, _: u64) -> i32 {
    status::OK
}

extern "C" fn gauge(_: u64, _: Text, _: i64) -> i32 {
    status::OK
}

static RATEBUS: abi::Host = abi::Host {
    size: abi::size_of::<abi::Host>(),
    minor: 0,
    publish,
    health: text,
    log: text,
    now,
    stopped,
    count,
    gauge,
};

fn rate(pair: &str, cents: i64) -> (Subject, Rate) {
    let (source, pair): (SourceName, Pair) = ("acme".parse().unwrap(), pair.parse().unwrap());
    let price = |cents: i64| Price::new(ratebus_model::decimal::Decimal::new(cents, 2)).unwrap();
    let arrival = Clock.arrival();
    let rate = Rate {
        source,
        pair,
        value: RateValue::TwoSided { bid: price(cents), ask: price(cents) },
        market: Market::Online,
        event_time: None,
        recv_time: arrival.time,
        confirmed_at: arrival.at,
        limits: Limits::STREAM,
        version: Version::first(RecordingHost::EPOCH),
    };
    (Subject::rate(source, pair), rate)
}

#[tokio::test]
async fn what_does_not_fit_waits_as_the_newest_of_each_subject() {
    let host = Arc::new(LibraryHost::new("acme".parse().unwrap(), &RATEBUS, 1));
    let publish = |pair, cents| {
        let (subject, rate) = rate(pair, cents);
        host.try_publish(Outgoing::new(subject, rate)).unwrap();
    };
    let heard = || std::mem::take(&mut *HEARD.lock().unwrap());
    ROOM.store(1, Ordering::SeqCst);
    publish("BTC_USD", 100);
    assert_eq!(heard(), [(event::RATE, 100)]);
    for (pair, cents) in [("BTC_USD", 101), ("ETH_USD", 200), ("BTC_USD", 102), ("ETH_USD", 201)] {
        publish(pair, cents);
    }
    assert_eq!(heard(), []);
    ROOM.store(1, Ordering::SeqCst);
    host.on_writable();
    assert_eq!(heard(), [(event::RATE, 102)]);
    // Whoever awaits room has it after what waited before.
    let (subject, third) = rate("SOL_USD", 300);
    let waiting = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.publish(Outgoing::new(subject, third)).await }
    });
    tokio::task::yield_now().await;
    ROOM.store(2, Ordering::SeqCst);
    eventually("room", Duration::from_secs(30), || {
        host.on_writable();
        waiting.is_finished()
    })
    .await;
    assert_eq!(waiting.await.unwrap(), Ok(1));
    assert_eq!(heard(), [(event::RATE, 201), (event::RATE, 300)]);

    // Of a list that is taken in part the rest goes on, and of the next one what is new.
    let source: SourceName = "acme".parse().unwrap();
    let list = |states: [PairState; 2]| {
        let pairs = ["BTC_USD", "ETH_USD"].into_iter().map(|pair| pair.parse().unwrap()).zip(states).collect();
        host.try_publish(Outgoing::new(Subject::pairs(source), PairList { source, pairs })).unwrap();
    };
    ROOM.store(1, Ordering::SeqCst);
    list([PairState::Pending, PairState::Pending]);
    assert_eq!(heard(), [(event::PAIR, 0)]);
    ROOM.store(5, Ordering::SeqCst);
    host.on_writable();
    assert_eq!(heard(), [(event::PAIR, 0), (event::ALL_PAIRS, 0)]);
    list([PairState::Pending, PairState::Subscribed]);
    assert_eq!(heard(), [(event::PAIR, 0)]);
}

struct Picky;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PickyConfig {
    pairs: Vec<Pair>,
    #[serde(default)]
    seconds: u8,
}

impl Factory for Picky {
    type Config = PickyConfig;
    const TYPE: &'static str = "source/picky";

    fn build(config: PickyConfig, env: &Env) -> Result<Self, ConfigError> {
        assert!(!config.pairs.is_empty(), "a fault");
        if config.seconds > 0 {
            let all = env.pairs();
            assert_eq!(all[&config.pairs[0]].return_after, Some(Duration::from_secs(config.seconds.into())));
            return Ok(Self);
        }
        let mut error = ConfigError::new("pairs.0", "not this one");
        error.add("", "nor\nanything");
        error.or(Self)
    }
}

#[async_trait::async_trait]
impl Source for Picky {
    async fn run(self: Box<Self>, _: Context) -> Result<(), Error> {
        Err(Error::new(ErrorKind::RateLimited, "slower").with_retry(Retry::After(Duration::from_millis(1500))))
    }
}

/// What `create` of the source says to a config and tables of pairs: status, words, whether it keeps the tables, and the
/// instance.
#[expect(unsafe_code, reason = "as ratebus calls it")]
fn create(config: &str, pairs: &str) -> (i32, String, bool, *mut c_void) {
    let (mut room, mut instance) = (vec![0; 1024], ptr::null_mut::<c_void>());
    let mut error = Buffer::new(&mut room);
    let mut setup = abi::Setup {
        size: abi::size_of::<abi::Setup>(),
        keeps_pairs: 0,
        name: Text::new("picky"),
        config: Text::new(config),
        pairs: Text::new(pairs),
    };
    let create = source::<Picky>().create.unwrap();
    // SAFETY: all of it lives until it returns.
    let status = unsafe { create(&raw mut setup, &raw mut error, &raw mut instance) };
    let length = error.length;
    (status, String::from_utf8(room[..length].to_vec()).unwrap(), setup.keeps_pairs != 0, instance)
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_key_and_all_of_it() {
    for (config, status, words) in [
        (r#"{"pairs":["BTC_USD"]}"#, status::INVALID, "pairs.0\tnot this one\n\tnor anything"),
        (r#"{"pairs":["BTC_USD","BTC"]}"#, status::INVALID, "pairs.1\t\"BTC\" is not a pair such as BTC_USD"),
        (
            r#"{"pears":[],"seconds":"1","colour":2}"#,
            status::INVALID,
            "colour\tunknown key; expected one of: pairs, seconds\n\
             pears\tunknown key; expected one of: pairs, seconds\n\
             seconds\tfound string \"1\", expected u8\npairs\tmissing",
        ),
        (r#"{"pairs":[]}"#, status::PANICKED, "a fault"),
    ] {
        let (is, said, _, instance) = create(config, "{}");
        assert_eq!((is, said.as_str()), (status, words), "{config}");
        assert!(instance.is_null());
    }
}

#[tokio::test]
#[expect(unsafe_code, reason = "as ratebus calls it")]
async fn tables_of_pairs_come_in_and_when_to_try_again_goes_out() {
    let settings = PairSettings {
        return_after: Some(Duration::from_secs(7)),
        price_step: Some("0.5".parse().unwrap()),
        ..PairSettings::default()
    };
    let pairs: PairTable = [("BTC_USD".parse().unwrap(), settings)].into();
    let pairs = serde_json::to_string(&pairs).unwrap();
    let (status, words, keeps_pairs, instance) = create(r#"{"pairs":["BTC_USD"],"seconds":7}"#, &pairs);
    assert_eq!((status, words.as_str(), keeps_pairs), (status::OK, "", true));
    let (calls, mut room) = (source::<Picky>(), vec![0; 64]);
    let mut error = Buffer::new(&mut room);
    // SAFETY: `create` made it, and the host is there for good.
    let started = unsafe { calls.start.unwrap()(instance, &raw const RATEBUS, 1, &raw mut error) };
    assert_eq!(started, status::OK);
    let ended = || ENDS.lock().unwrap().clone() == [(abi::end::RATE_LIMITED, 1500)];
    eventually("the end", Duration::from_secs(30), ended).await;
    // SAFETY: the last call.
    unsafe { calls.destroy.unwrap()(instance) };
}
