use ratebus_bus::{BusConfig, Subscribe, Subscription};
use ratebus_model::Timestamp;

use super::*;
use crate::{letter::LATE, seal::Keys};

fn at(start: Instant, millis: u64) -> Arrival {
    let span = Duration::from_millis(millis);
    Arrival { time: Timestamp::from_millis(1_790_000_000_000).plus(span), at: start + span }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A process that shares `events.>`, and has these readers and members.
fn process(name: u64, wants: &[(&str, Option<&str>)]) -> (Peers, Bus, Vec<Subscription>) {
    let bus = Bus::new(BusConfig::default());
    let subscribe = |(pattern, group): &(&str, Option<&str>)| {
        let pattern: Pattern = pattern.parse().unwrap();
        bus.subscribe(Subscribe { queue: group.map(Into::into), ..Subscribe::new("test", pattern) })
    };
    let subscriptions = wants.iter().map(subscribe).collect();
    let peers = Peers::new(Epoch::new(name), patterns(&["events.>"]), patterns(&["events.>"]));
    (peers, bus, subscriptions)
}

/// What `to` makes of a letter.
fn carry((subject, letter): &(Subject, Letter), to: &Peers, now: Arrival) -> Result<(), &'static str> {
    to.hear(&open(subject, letter, now), now.at)
}

fn open(subject: &Subject, letter: &Letter, now: Arrival) -> Opened {
    let keys = Keys::default();
    Letter::open(subject, &letter.seal(subject, &keys).unwrap(), &keys, now, LATE).unwrap()
}

fn members(peers: &Peers) -> Vec<String> {
    let text = |member: Member| format!("{} {} {}", member.process.number(), member.group, member.pattern);
    let mut members: Vec<_> = peers.members().into_iter().map(text).collect();
    members.sort();
    members
}

#[test]
fn members_are_served_where_both_sides_share() {
    let now = at(Instant::now(), 0);
    let wants = [("*.a", Some("g")), ("events.*.x", Some("h")), ("local.>", Some("g")), ("events.b", None)];
    let ((one, _, _), (two, bus, _subscriptions)) = (process(1, &[]), process(2, &wants));
    carry(&two.announce(&bus, now).unwrap(), &one, now).unwrap();
    assert_eq!(members(&one), ["2 g events.a", "2 h events.*.x"]);
    one.disconnected();
    assert_eq!(members(&one), [""; 0]);
}

#[test]
fn a_process_says_what_it_wants_when_that_changes_when_another_comes_and_once_a_second() {
    let start = Instant::now();
    let ((one, bus, subscriptions), (two, other_bus, _)) = (process(1, &[("events.a", Some("g"))]), process(2, &[]));
    assert!(one.announce(&bus, at(start, 0)).is_some());
    assert!(one.announce(&bus, at(start, 250)).is_none());
    carry(&two.announce(&other_bus, at(start, 250)).unwrap(), &one, at(start, 250)).unwrap();
    carry(&one.announce(&bus, at(start, 500)).unwrap(), &two, at(start, 500)).unwrap();
    assert_eq!(members(&two).len(), 1);
    assert!(one.announce(&bus, at(start, 1250)).is_none());
    assert!(one.announce(&bus, at(start, 1500)).is_some());
    drop(subscriptions);
    carry(&one.announce(&bus, at(start, 1750)).unwrap(), &two, at(start, 1750)).unwrap();
    assert_eq!(members(&two).len(), 0);
    one.connected(start);
    assert!(one.announce(&bus, at(start, 1750)).is_some());
}

#[test]
fn who_leaves_or_falls_silent_is_served_no_more() {
    let start = Instant::now();
    let ((one, _, _), (two, bus, _subscriptions)) = (process(1, &[]), process(2, &[("events.a", Some("g"))]));
    let said = two.announce(&bus, at(start, 0)).unwrap();
    carry(&said, &one, at(start, 0)).unwrap();
    one.sweep(at(start, 3000).at);
    assert_eq!(members(&one).len(), 1);
    one.sweep(at(start, 3001).at);
    assert_eq!(members(&one).len(), 0);
    assert_eq!(carry(&said, &one, at(start, 4000)), Err("not_newer"), "said before");
    carry(&two.announce(&bus, at(start, 4000)).unwrap(), &one, at(start, 4000)).unwrap();
    assert_eq!(members(&one).len(), 1);
    carry(&two.leave(at(start, 4100)).unwrap(), &one, at(start, 4100)).unwrap();
    assert_eq!(members(&one).len(), 0);
}

#[test]
fn what_is_meant_for_one_process_is_taken_there_and_once() {
    let now = at(Instant::now(), 0);
    let ((one, _, _), (two, _, _)) = (process(1, &[]), process(2, &[]));
    let member = Member { process: Epoch::new(2), group: "g".into(), pattern: patterns(&["events.a"]).remove(0) };
    let message = Message {
        subject: "events.a".parse().unwrap(),
        reply: None,
        headers: Vec::new(),
        payload: Payload::Bytes("x".into()),
        version: Version { epoch: Epoch::new(77), sequence: 5 },
        published_at: now.time,
    };
    let (subject, letter) = one.mail(&member, &message, now).unwrap();
    assert!(is_mailbox(&subject) && two.is_mine(&subject) && !one.is_mine(&subject));
    let opened = open(&subject, &letter, now);
    assert_eq!(opened.group.as_deref(), Some("g"));
    let arrived = opened.message.as_ref().unwrap();
    assert_eq!((&arrived.subject, arrived.version), (&message.subject, message.version));
    assert_eq!(two.advance(opened.word.version, now.at), Ok(()));
    assert_eq!(two.advance(opened.word.version, now.at), Err("not_newer"));
    two.disconnected();
    assert_eq!(two.advance(opened.word.version, now.at), Err("not_newer"));
    // Under another subject it is not what it says.
    for other in ["events.a", ANNOUNCEMENTS] {
        let other: Subject = other.parse().unwrap();
        let text = letter.seal(&other, &Keys::default()).unwrap();
        assert!(Letter::open(&other, &text, &Keys::default(), now, LATE).is_err());
    }
    let text = Letter::new(opened.word, &message, now).seal(&subject, &Keys::default()).unwrap();
    assert!(Letter::open(&subject, &text, &Keys::default(), now, LATE).is_err());
}

#[test]
fn whether_anybody_listens_is_known_once_everybody_was_heard() {
    let (start, subject) = (Clock.now(), |text: &str| text.parse::<Subject>().unwrap());
    let now = at(start, 0);
    let ((one, _, _), (two, bus, _subscriptions)) = (process(1, &[]), process(2, &[("events.a", None)]));
    assert!(one.listens(&subject("events.b")), "not connected: who knows");
    assert!(!one.listens(&subject("local.b")), "it goes nowhere");
    one.connected(start);
    assert!(one.listens(&subject("events.b")));
    one.connected(start.checked_sub(SETTLED * 2).unwrap());
    assert!(!one.listens(&subject("events.a")));
    carry(&two.announce(&bus, now).unwrap(), &one, now).unwrap();
    assert!(one.listens(&subject("events.a")) && !one.listens(&subject("events.b")));
}

#[test]
fn what_is_said_and_remembered_is_bounded() {
    let start = Instant::now();
    let texts: Vec<String> = (0..MOST_WANTS).map(|number| format!("events.{number}")).collect();
    let mut wants: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (text.as_str(), None)).collect();
    wants.push(("events.x", Some("g")));
    let (many, bus, _subscriptions) = process(1, &wants);
    let (one, _, _) = process(2, &[]);
    one.connected(start.checked_sub(SETTLED * 2).unwrap());
    carry(&many.announce(&bus, at(start, 0)).unwrap(), &one, at(start, 0)).unwrap();
    assert_eq!(members(&one), ["1 g events.x"]);
    assert!(one.listens(&"events.anything".parse().unwrap()), "rather too much than too little");

    let texts: Vec<String> = (0..=MOST_WANTS).map(|number| format!(r#"{{"pattern":"events.{number}"}}"#)).collect();
    let (subject, letter) = many.announce(&bus, at(start, 1000)).unwrap();
    let mut greedy = open(&subject, &letter, at(start, 1000));
    greedy.message.as_mut().unwrap().payload = Payload::Bytes(format!(r#"{{"wants":[{}]}}"#, texts.join(",")).into());
    assert_eq!(one.hear(&greedy, start), Err("malformed"));

    let version = |number| Version::first(Epoch::new(number));
    for number in 3..MOST as u64 + 2 {
        assert_eq!(one.advance(version(number), start), Ok(()));
    }
    assert_eq!(one.advance(version(1000), start), Err("too_many_processes"));
    one.sweep(at(start, 60_001).at);
    assert_eq!(one.advance(version(1000), start), Ok(()));
}
