use std::time::{Duration, Instant};

use ratebus_model::{Payload, Timestamp};

use super::*;
use crate::{letter::LATE, seal::Keys};

fn at(start: Instant, millis: u64) -> Arrival {
    let span = Duration::from_millis(millis);
    Arrival { time: Timestamp::from_millis(1_790_000_000_000).plus(span), at: start + span }
}

fn message(subject: &str, epoch: u64, sequence: u64) -> Arc<Message> {
    Arc::new(Message {
        subject: subject.parse().unwrap(),
        reply: None,
        headers: Vec::new(),
        payload: Payload::Bytes("x".into()),
        version: Version { epoch: Epoch::new(epoch), sequence },
        published_at: Timestamp::from_millis(0),
    })
}

/// What `from` sends, taken in by `to`.
fn carry(subject: &str, letter: &Letter, to: &mut Table, now: Arrival) -> Outcome {
    let (subject, keys) = (subject.parse().unwrap(), Keys::default());
    let text = letter.seal(&subject, &keys).unwrap();
    let opened = Letter::open(&subject, &text, &keys, now, LATE).unwrap();
    to.hear(&subject, opened, false, now)
}

/// The letter with which a process takes the floor.
fn first_word(table: &mut Table, subject: &str, epoch: u64, start: Instant) -> (Letter, Arrival) {
    assert!(table.say(&message(subject, epoch, 1), at(start, 0)).is_none(), "it listens first");
    let now = at(start, 1500);
    let mut repeated = table.repeat(now);
    assert_eq!(repeated.len(), 1);
    (repeated.remove(0).1, now)
}

#[test]
fn what_is_heard_twice_is_taken_once() {
    let start = Instant::now();
    for subject in ["rates.kraken.X", "events.x"] {
        let (mut one, mut two) = (Table::default(), Table::default());
        let (letter, now) = if is_state(&subject.parse().unwrap()) {
            first_word(&mut one, subject, 1, start)
        } else {
            let now = at(start, 0);
            (one.say(&message(subject, 1, 1), now).unwrap(), now)
        };
        let outcome = carry(subject, &letter, &mut two, now);
        assert!(outcome.message.is_some(), "{subject}");
        // The broker tells it to him who said it, too.
        assert_eq!(carry(subject, &letter, &mut one, now).dropped, Some("echo"), "{subject}");
        assert_eq!(carry(subject, &letter, &mut two, now).dropped, Some("not_newer"), "{subject}");
    }
}

#[test]
fn who_knows_it_himself_needs_nobody_elses_word() {
    let (start, subject) = (Instant::now(), "rates.kraken.X");
    let (mut one, mut two) = (Table::default(), Table::default());
    let (letter, now) = first_word(&mut one, subject, 1, start);
    two.say(&message(subject, 2, 1), at(start, 100));
    let outcome = carry(subject, &letter, &mut two, now);
    assert!(outcome.message.is_none() && outcome.goodbye.is_none() && outcome.dropped.is_none());
    // It stands by, and speaks as soon as the other stops.
    let later = at(start, 2000);
    assert!(two.say(&message(subject, 2, 2), later).is_none() && two.repeat(later).is_empty());
    let (_, goodbye) = one.leave(later).remove(0);
    carry(subject, &goodbye, &mut two, later);
    assert_eq!(two.repeat(later).len(), 1);
}

/// Who joins in the moment after a goodbye finds what was said before it, and must not wait for its speaker.
#[test]
fn what_the_broker_kept_holds_nobody_up() {
    let (start, subject) = (Instant::now(), "rates.kraken.X");
    let (mut one, mut two, mut reader) = (Table::default(), Table::default(), Table::default());
    let (kept, now) = first_word(&mut one, subject, 1, start);
    let keys = Keys::default();
    let opened = Letter::open(
        &subject.parse().unwrap(),
        &kept.seal(&subject.parse().unwrap(), &keys).unwrap(),
        &keys,
        now,
        LATE,
    );
    assert!(reader.hear(&subject.parse().unwrap(), opened.unwrap(), true, now).message.is_some());
    let (next, now) = first_word(&mut two, subject, 2, start);
    assert!(carry(subject, &next, &mut reader, now).message.is_some(), "the one who speaks now is heard");
    assert_eq!(carry(subject, &kept, &mut reader, now).dropped, Some("past_turn"));
}

#[test]
fn a_source_that_is_gone_leaves_its_place_to_others() {
    let (start, subject) = (Instant::now(), "rates.kraken.X");
    let (mut one, mut two) = (Table::default(), Table::default());
    let (letter, now) = first_word(&mut one, subject, 1, start);
    two.say(&message(subject, 2, 1), at(start, 100));
    carry(subject, &letter, &mut two, now);
    assert!(one.retire(|_| false, now).is_empty(), "first everybody is to hear what it said last");
    let later = at(start, 3500);
    assert!(one.retire(|_| true, later).is_empty(), "it goes on");
    let (_, goodbye) = one.retire(|_| false, later).remove(0);
    assert!(one.retire(|_| false, later).is_empty() && one.repeat(at(start, 9000)).is_empty());
    carry(subject, &goodbye, &mut two, later);
    let (_, taken_over) = two.repeat(later).remove(0);
    assert!(carry(subject, &taken_over, &mut one, later).message.is_some(), "and is heard here");
}

#[test]
fn what_is_gone_is_told_until_everybody_has_heard_it_and_gives_way_to_whoever_goes_on() {
    let (start, subject) = (Instant::now(), "rates.kraken.X");
    let (mut one, mut two, mut reader) = (Table::default(), Table::default(), Table::default());
    let (letter, now) = first_word(&mut one, subject, 1, start);
    two.say(&message(subject, 2, 1), at(start, 100));
    for table in [&mut two, &mut reader] {
        carry(subject, &letter, table, now);
    }
    let gone = Arc::new(Message { payload: Payload::Gone, ..Message::clone(&message(subject, 1, 2)) });
    let now = at(start, 1600);
    let letter = one.say(&gone, now).unwrap();
    for table in [&mut two, &mut reader] {
        carry(subject, &letter, table, now);
    }
    let (_, again) = one.repeat(at(start, 2400)).remove(0);
    assert!(matches!(carry(subject, &again, &mut reader, at(start, 2400)).message.unwrap().payload, Payload::Gone));
    let (_, taken_over) = two.repeat(at(start, 2500)).remove(0);
    for table in [&mut one, &mut reader] {
        let heard = carry(subject, &taken_over, table, at(start, 2500));
        assert!(heard.dropped.is_none(), "{heard:?}");
    }
    // From then on it hears the other.
    assert!(one.retire(|_| false, at(start, 5000)).is_empty());
    let (_, next) = two.repeat(at(start, 5100)).remove(0);
    assert!(carry(subject, &next, &mut one, at(start, 5100)).message.is_some());
}

#[test]
fn everybody_speaks_where_there_is_no_state() {
    let now = at(Instant::now(), 0);
    let (mut one, mut two, mut reader) = (Table::default(), Table::default(), Table::default());
    for sequence in 1..=3 {
        for (epoch, table) in [(1, &mut one), (2, &mut two)] {
            let letter = table.say(&message("events.x", epoch, sequence), now).unwrap();
            let outcome = carry("events.x", &letter, &mut reader, now);
            assert_eq!(outcome.message.unwrap().version, Version { epoch: Epoch::new(epoch), sequence });
        }
    }
    assert!(one.say(&message("events.x", 1, 3), now).is_none(), "one as new was sent");
    assert!(one.repeat(at(Instant::now(), 10_000)).is_empty());
}

#[test]
fn the_number_of_subjects_is_bounded() {
    let (now, mut table) = (at(Instant::now(), 0), Table::default());
    for number in 0..MOST {
        assert!(table.say(&message(&format!("events.{number}"), 1, 1), now).is_some());
    }
    assert!(table.say(&message("events.more", 1, 1), now).is_none());
    let letter = Letter::goodbye(Word { version: Version::first(Epoch::new(2)), follows: None }, now);
    assert_eq!(carry("events.more", &letter, &mut table, now).dropped, Some("too_many_subjects"));
    assert_eq!(carry("events.1", &letter, &mut table, now).dropped, None);
}

#[test]
fn subjects_where_everybody_speaks_are_forgotten_once_they_are_idle() {
    let (start, mut table) = (Instant::now(), Table::default());
    for (subject, millis) in [("events.old", 0), ("events.new", 30_000), ("rates.kraken.X", 0)] {
        table.say(&message(subject, 1, 1), at(start, millis));
    }
    let known = |table: &Table| {
        let mut known: Vec<_> = table.lines.keys().map(ToString::to_string).collect();
        known.sort();
        known
    };
    table.sweep(start + IDLE);
    assert_eq!(known(&table).len(), 3);
    table.sweep(start + IDLE + Duration::from_millis(1));
    assert_eq!(known(&table), ["events.new", "rates.kraken.X"]);
    // Longer than a letter may be under way by two clocks that differ, so nothing is taken twice.
    assert!(IDLE > LATE * 2);
}

#[test]
fn answers_leave_only_for_requests_that_came_from_elsewhere() {
    let now = at(Instant::now(), 0);
    let (mut client, mut responder) = (Table::default(), Table::default());
    let mut request = Message::clone(&message("events.ask", 1, 1));
    request.reply = Some("_INBOX.1".parse().unwrap());
    let letter = client.say(&Arc::new(request), now).unwrap();
    assert!(carry("events.ask", &letter, &mut responder, now).message.unwrap().reply.is_some());

    assert!(responder.say(&message("_INBOX.2", 2, 1), now).is_none(), "nobody elsewhere has asked there");
    let answer = responder.say(&message("_INBOX.1", 2, 1), now).unwrap();
    assert!(responder.say(&message("_INBOX.1", 2, 1), now).is_none(), "one answer is enough");
    assert!(carry("_INBOX.1", &answer, &mut client, now).message.is_some());
}
