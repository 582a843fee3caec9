//! What becomes a rate, what is refused, and what keeps a rate fresh.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratebus_model::{
    Arrival, Epoch, Fold, FoldLimits, Limits, Market, Pair, Rate, RateValue, Refusal, Status, Tick, Timestamp,
};

const NOON: Timestamp = Timestamp::from_millis(1_789_000_000_000);

/// A fold and the moments at which it is fed, counted in milliseconds.
struct Feed {
    fold: Fold,
    start: Instant,
}

impl Feed {
    fn new() -> Self {
        Self::with(FoldLimits::new(Limits::STREAM))
    }

    fn with(limits: FoldLimits) -> Self {
        let fold = Fold::new("kraken".parse().unwrap(), pair(), Epoch::new(1), limits);
        Self { fold, start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn arrival(&self, millis: u64) -> Arrival {
        Arrival { time: clock(millis), at: self.at(millis) }
    }

    fn apply(&mut self, tick: &Tick<'_>, millis: u64) -> Result<Rate, Refusal> {
        let arrival = self.arrival(millis);
        self.fold.apply(tick, arrival).cloned()
    }

    fn status(&self, millis: u64) -> Status {
        self.fold.rate().unwrap().status(self.at(millis))
    }

    fn heartbeat(&mut self, millis: u64) -> bool {
        let at = self.at(millis);
        self.fold.confirm(at).is_some()
    }

    /// The last good rate as text: bid / ask.
    fn shown(&self) -> String {
        let value = self.fold.rate().unwrap().value;
        format!("{} / {}", value.bid(), value.ask())
    }
}

fn pair() -> Pair {
    "BTC_USD".parse().unwrap()
}

fn clock(millis: u64) -> Timestamp {
    NOON.plus(Duration::from_millis(millis))
}

fn told<'a>(bid: impl Into<Option<&'a str>>, ask: impl Into<Option<&'a str>>) -> Tick<'a> {
    Tick { pair: pair(), bid: bid.into(), ask: ask.into(), reference: None, event_time: None, snapshot: false }
}

fn dated<'a>(bid: &'a str, ask: &'a str, event_time: Timestamp) -> Tick<'a> {
    Tick { event_time: Some(event_time), ..told(bid, ask) }
}

fn snapshot<'a>(bid: impl Into<Option<&'a str>>, ask: impl Into<Option<&'a str>>) -> Tick<'a> {
    Tick { snapshot: true, ..told(bid, ask) }
}

#[test]
fn versions_grow_on_change_and_only_then() {
    let mut feed = Feed::new();
    let first = feed.apply(&dated("1.0", "1.1", clock(0)), 0).unwrap();
    assert_eq!(first.version.sequence, 1);
    let again = feed.apply(&dated("1.00", "1.10", clock(500)), 500).unwrap();
    assert_eq!(again.version, first.version);
    assert_eq!(
        (again.event_time, again.recv_time),
        (first.event_time, first.recv_time),
        "the price is as old as it was"
    );
    assert_eq!(feed.shown(), "1.0 / 1.1", "one version has one text");
    assert_eq!(again.confirmed_at, feed.at(500));
    assert_eq!(feed.apply(&dated("1.0", "1.2", clock(600)), 600).unwrap().version.sequence, 2);
    assert!(feed.heartbeat(700));
    assert_eq!(feed.fold.rate().unwrap().version.sequence, 2);
    assert!(feed.fold.set_market(Market::Online).is_none());
    assert_eq!(feed.fold.set_market(Market::Maintenance).unwrap().version.sequence, 3);
}

#[test]
fn a_quiet_market_on_a_live_feed_stays_fresh_and_a_silent_feed_ages() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    assert!(feed.heartbeat(60_000));
    assert!(feed.heartbeat(50_000), "a late one takes nothing back");
    assert_eq!(feed.status(70_000), Status::Fresh);
    assert_eq!(feed.status(70_001), Status::Stale);
    assert_eq!(feed.status(120_000), Status::Stale);
    assert_eq!(feed.status(120_001), Status::Dead);
}

#[test]
fn an_update_is_as_old_as_its_own_time_says() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    feed.apply(&dated("1.0", "1.2", clock(5_000)), 20_000).unwrap();
    assert_eq!(feed.status(20_000), Status::Stale, "15 s old on arrival");
    assert!(!feed.heartbeat(20_100), "a heartbeat does not make it younger");
    feed.apply(&dated("1.0", "1.2", clock(20_500)), 21_000).unwrap();
    assert_eq!(feed.fold.rate().unwrap().feed_age(feed.at(21_000)), Duration::from_millis(500));
    assert!(feed.heartbeat(22_000));
    feed.apply(&dated("1.0", "1.3", clock(22_000)), 3_600_000).unwrap();
    assert_eq!(feed.status(3_600_000), Status::Dead);
}

#[test]
fn snapshots_and_missing_or_impossible_times_are_no_age() {
    for tick in [
        told("1.0", "1.1"),
        dated("1.0", "1.1", Timestamp::from_millis(0)),
        dated("1.0", "1.1", clock(86_400_000)),
        Tick { snapshot: true, ..dated("1.0", "1.1", Timestamp::from_millis(1_700_000_000_000)) },
    ] {
        let mut feed = Feed::new();
        feed.apply(&tick, 0).unwrap();
        assert_eq!(feed.status(0), Status::Fresh, "{tick:?}");
        assert!(feed.heartbeat(1_000));
    }
}

#[test]
fn times_that_cannot_be_are_not_shown() {
    for micros in [0, i64::MAX, -1] {
        let mut feed = Feed::new();
        let rate = feed.apply(&dated("1.0", "1.1", Timestamp::from_micros(micros)), 0).unwrap();
        assert_eq!(rate.event_time, None);
    }
}

#[test]
fn late_and_repeated_ticks_are_ignored() {
    let mut feed = Feed::new();
    feed.apply(&dated("1.0", "1.1", clock(100)), 100).unwrap();
    assert_eq!(feed.apply(&dated("1.0", "1.2", clock(99)), 110), Err(Refusal::Older));
    assert!(feed.heartbeat(120), "a late duplicate takes nothing back");
    assert_eq!(feed.apply(&dated("1.0", "1.1", clock(100)), 130).unwrap().version.sequence, 1);
    assert_eq!(feed.shown(), "1.0 / 1.1");
    let replaced = Tick { snapshot: true, ..dated("1.0", "1.05", clock(50)) };
    assert_eq!(feed.apply(&replaced, 140).unwrap().version.sequence, 2, "a snapshot replaces what was known");
}

#[test]
fn late_after_a_refused_tick_is_late_too() {
    let mut feed = Feed::new();
    feed.apply(&dated("1.0", "1.1", clock(100)), 100).unwrap();
    assert_eq!(feed.apply(&dated("1.2", "1.1", clock(200)), 200), Err(Refusal::Crossed));
    assert_eq!(feed.apply(&dated("1.0", "1.15", clock(150)), 210), Err(Refusal::Older));
    assert!(!feed.heartbeat(220));
}

#[test]
fn a_time_from_the_future_does_not_shut_out_what_follows() {
    let mut feed = Feed::new();
    feed.apply(&dated("1.0", "1.1", clock(0)), 0).unwrap();
    feed.apply(&dated("1.0", "1.2", clock(86_400_000)), 100).unwrap();
    assert!(feed.apply(&dated("1.0", "1.3", clock(200)), 200).is_ok());
}

#[test]
fn crossed_is_refused_and_the_last_good_rate_ages() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    assert_eq!(feed.apply(&told("1.2", "1.1"), 1_000), Err(Refusal::Crossed));
    assert!(!feed.heartbeat(2_000));
    assert_eq!(feed.shown(), "1.0 / 1.1");
    assert_eq!(feed.status(10_001), Status::Stale);
    let locked = feed.apply(&told("1.1", "1.1"), 11_000).unwrap();
    assert_eq!(locked.value.bid(), locked.value.ask());
    assert!(feed.heartbeat(12_000));
}

#[test]
fn what_is_no_price_is_refused() {
    let huge = "1".repeat(60);
    for (text, refusal) in [
        ("0", Refusal::EmptySide),
        ("0.00000000", Refusal::EmptySide),
        ("-0", Refusal::EmptySide),
        ("-1", Refusal::NotAPrice),
        ("", Refusal::NotAPrice),
        ("null", Refusal::NotAPrice),
        ("\"1.0\"", Refusal::NotAPrice),
        ("1e308", Refusal::NotAPrice),
        ("1e-400", Refusal::NotAPrice),
        ("NaN", Refusal::NotAPrice),
        ("Infinity", Refusal::NotAPrice),
        ("1,000", Refusal::NotAPrice),
        (huge.as_str(), Refusal::NotAPrice),
    ] {
        let mut feed = Feed::new();
        assert_eq!(feed.apply(&told(text, "1.1"), 0), Err(refusal), "{text}");
        assert_eq!(feed.apply(&told("1.0", text), 0), Err(refusal), "{text}");
        assert_eq!(feed.apply(&Tick { reference: Some(text), ..told(None, None) }, 0), Err(refusal), "{text}");
        assert!(feed.fold.rate().is_none());
    }
}

#[test]
fn no_half_quote_is_ever_a_rate() {
    let mut feed = Feed::new();
    assert_eq!(feed.apply(&told(None, None), 0), Err(Refusal::OneSided));
    assert_eq!(feed.apply(&told("1.0", None), 0), Err(Refusal::OneSided));
    assert_eq!(feed.apply(&snapshot(None, "1.1"), 0), Err(Refusal::OneSided), "a snapshot is all there is");
    feed.apply(&told("1.0", None), 0).unwrap();
    assert_eq!(feed.shown(), "1.0 / 1.1");
    feed.apply(&told(None, "1.2"), 1).unwrap();
    assert_eq!(feed.shown(), "1.0 / 1.2");
}

#[test]
fn a_side_that_is_gone_does_not_come_back_by_itself() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    assert_eq!(feed.apply(&told("0", None), 1), Err(Refusal::EmptySide));
    assert_eq!(feed.apply(&told(None, "1.05"), 2), Err(Refusal::OneSided));
    feed.apply(&told("1.01", None), 3).unwrap();
    assert_eq!(feed.shown(), "1.01 / 1.05");
    // Crossed only for as long as the other side has not followed.
    assert_eq!(feed.apply(&told("1.06", None), 4), Err(Refusal::Crossed));
    feed.apply(&told(None, "1.07"), 5).unwrap();
    assert_eq!(feed.shown(), "1.06 / 1.07");
}

#[test]
fn after_doubt_a_tick_must_tell_both_sides() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    feed.fold.doubt();
    assert!(!feed.heartbeat(1));
    assert_eq!(feed.apply(&told(None, "1.1"), 2), Err(Refusal::OneSided));
    assert_eq!(feed.apply(&told("1.0", "1.1"), 3).unwrap().version.sequence, 1);
    assert!(feed.heartbeat(4));
}

#[test]
fn a_single_outlier_is_never_believed() {
    for outlier in [("10.0", "11.0"), ("0.10", "0.11"), ("1.0", "11.0"), ("0.1", "1.1")] {
        let mut feed = Feed::new();
        feed.apply(&told("1.0", "1.1"), 0).unwrap();
        for round in 1..10 {
            assert_eq!(feed.apply(&told(outlier.0, outlier.1), round), Err(Refusal::Jump));
            assert!(!feed.heartbeat(round));
            assert_eq!(feed.apply(&told("1.0", "1.1"), round).unwrap().version.sequence, 1);
            assert!(feed.heartbeat(round));
        }
    }
}

#[test]
fn a_jump_for_good_is_believed_once_enough_ticks_agree() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    assert_eq!(feed.apply(&told("10.0", "11.0"), 1), Err(Refusal::Jump));
    assert_eq!(feed.apply(&told("0.10", "0.11"), 2), Err(Refusal::Jump), "another jump starts over");
    assert_eq!(feed.apply(&told("10.0", "11.0"), 3), Err(Refusal::Jump));
    assert_eq!(feed.apply(&told("10.1", "11.1"), 4), Err(Refusal::Jump));
    assert_eq!(feed.apply(&told(None, "11.2"), 5).unwrap().version.sequence, 2, "one side at a time agrees too");
    assert_eq!(feed.shown(), "10.1 / 11.2");
}

#[test]
fn a_frame_sent_again_is_no_second_witness() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.1"), 0).unwrap();
    for round in 1..10 {
        assert_eq!(feed.apply(&dated("10.0", "11.0", clock(1)), round), Err(Refusal::Jump));
    }
    assert_eq!(feed.apply(&dated("10.0", "11.0", clock(10)), 10), Err(Refusal::Jump));
    assert!(feed.apply(&dated("10.0", "11.0", clock(11)), 11).is_ok());
}

#[test]
fn the_jump_limit_is_exact_and_may_be_absent() {
    let mut feed = Feed::new();
    feed.apply(&told("1.0", "1.0"), 0).unwrap();
    assert_eq!(feed.apply(&told("1.0", "1.2000000001"), 1), Err(Refusal::Jump));
    assert!(feed.apply(&told("0.8", "1.2"), 2).is_ok());
    let mut open = Feed::with(FoldLimits { max_jump_percent: None, ..FoldLimits::new(Limits::STREAM) });
    open.apply(&told("1.0", "1.0"), 0).unwrap();
    assert!(open.apply(&told("1000000", "1000000"), 1).is_ok());
}

#[test]
fn a_market_that_is_not_matching_is_never_fresh() {
    let mut feed = Feed::new();
    assert!(feed.fold.set_market(Market::Maintenance).is_none(), "no rate yet");
    let rate = feed.apply(&told("1.0", "1.1"), 0).unwrap();
    assert_eq!((rate.market, feed.status(0)), (Market::Maintenance, Status::Stale));
    for (market, status) in
        [(Market::NotMatching, Status::Stale), (Market::Unknown, Status::Stale), (Market::Online, Status::Fresh)]
    {
        assert!(feed.fold.set_market(market).is_some());
        assert_eq!(feed.status(0), status);
    }
    assert_eq!(feed.fold.rate().unwrap().version.sequence, 4);
}

#[test]
fn one_price_stands_for_both_sides() {
    let mut feed = Feed::new();
    let rate = feed.apply(&Tick { reference: Some("81413.25"), ..told(None, None) }, 0).unwrap();
    assert!(matches!(rate.value, RateValue::Reference { .. }));
    assert_eq!(feed.shown(), "81413.25 / 81413.25");
}

/// Anything a feed may do to a fold.
#[derive(Debug, Clone)]
enum Event {
    Tick { bid: Option<String>, ask: Option<String>, reference: Option<String>, event: Option<i64>, snapshot: bool },
    Heartbeat,
    Market(Market),
    Doubt,
}

fn any_text() -> impl Strategy<Value = String> {
    let near = (900..1_200_u32).prop_map(|n| format!("{}.{:03}", n / 1000, n % 1000));
    let far = (1..2_000_000_u32, -3..4_i32).prop_map(|(n, exponent)| format!("{n}e{exponent}"));
    let odd = prop::sample::select(vec!["0", "-1", "", "NaN", "1e308", "0.000", "-0"]).prop_map(str::to_owned);
    prop_oneof![8 => near, 1 => far, 1 => odd]
}

fn any_event() -> impl Strategy<Value = Event> {
    let side = || prop::option::weighted(0.9, any_text());
    let event = prop::option::of(prop_oneof![8 => -20_000..20_000_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]);
    let tick = (side(), side(), prop::option::weighted(0.05, any_text()), event, prop::bool::weighted(0.1))
        .prop_map(|(bid, ask, reference, event, snapshot)| Event::Tick { bid, ask, reference, event, snapshot });
    let market = prop::sample::select(vec![Market::Online, Market::Maintenance, Market::Unknown]);
    prop_oneof![20 => tick, 3 => Just(Event::Heartbeat), 1 => market.prop_map(Event::Market), 1 => Just(Event::Doubt)]
}

/// What a version must stand for, all of it.
fn content(rate: &Rate) -> (RateValue, String, Market, Option<Timestamp>, Timestamp) {
    let text = format!("{}/{}", rate.value.bid(), rate.value.ask());
    (rate.value, text, rate.market, rate.event_time, rate.recv_time)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_rates_are_sound_and_never_step_back(
        events in prop::collection::vec((any_event(), 0..3_000_u64), 1..80),
    ) {
        let mut feed = Feed::new();
        let mut before: Option<Rate> = None;
        let mut now = 0;
        for (event, pause) in events {
            now += pause;
            let refused = match event {
                Event::Tick { bid, ask, reference, event, snapshot } => {
                    let event_time = event.map(|off| match off {
                        i64::MAX | i64::MIN => Timestamp::from_micros(off),
                        off => Timestamp::from_millis(clock(now).millis() + off),
                    });
                    let (bid, ask, reference) = (bid.as_deref(), ask.as_deref(), reference.as_deref());
                    feed.apply(&Tick { pair: pair(), bid, ask, reference, event_time, snapshot }, now).is_err()
                }
                Event::Heartbeat => !feed.heartbeat(now),
                Event::Market(market) => feed.fold.set_market(market).is_none(),
                Event::Doubt => { feed.fold.doubt(); true }
            };
            let Some(rate) = feed.fold.rate() else { continue };
            prop_assert!(rate.value.bid() <= rate.value.ask());
            prop_assert!(rate.confirmed_at <= feed.at(now), "nobody vouches from the future");
            if let Some(before) = &before {
                if refused {
                    prop_assert_eq!(before, rate);
                }
                if content(before) == content(rate) {
                    prop_assert_eq!(before.version, rate.version);
                } else {
                    prop_assert!(rate.version.is_after(before.version));
                }
            }
            before = Some(rate.clone());
        }
    }
}
