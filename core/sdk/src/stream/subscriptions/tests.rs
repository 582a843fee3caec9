use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{feed::Decode, stream::Symbols};

#[derive(Default, Deserialize)]
struct Toy {}

impl Exchange for Toy {
    const TYPE: &'static str = "source/toy";
    const ENDPOINT: Option<&'static str> = None;

    fn symbol(&self, pair: Pair) -> String {
        pair.to_string()
    }

    fn decoder(&self, _: Symbols) -> Box<dyn Decode> {
        unreachable!("no frames come here")
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        json!({"subscribe": symbols, "id": request}).to_string()
    }

    fn unsubscribe(&self, request: u64, symbols: &[&str]) -> Option<String> {
        Some(json!({"unsubscribe": symbols, "id": request}).to_string())
    }
}

const ANSWER: Duration = Duration::from_secs(5);
const AUDIT: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

fn pair(index: usize) -> Pair {
    format!("C{index}_USD").parse().unwrap()
}

fn subscriptions(count: usize, now: Instant) -> Subscriptions {
    let symbols = (0..count).map(|index| (pair(index), format!("C{index}/USD"))).collect();
    Subscriptions::new(symbols, &Rules::default(), ANSWER, AUDIT, now)
}

fn asked(messages: &[String]) -> Vec<(u64, usize)> {
    let read = |message: &String| {
        let json: Value = serde_json::from_str(message).unwrap();
        (json["id"].as_u64().unwrap(), json["subscribe"].as_array().unwrap().len())
    };
    messages.iter().map(read).collect()
}

#[test]
fn all_pairs_go_out_in_few_messages_and_only_the_missing_again() {
    let start = Instant::now();
    let mut subscriptions = subscriptions(250, start);
    assert_eq!(asked(&subscriptions.requests(&Toy {}, start)), [(1, 100), (2, 100), (3, 50)]);
    assert_eq!(subscriptions.requests(&Toy {}, start), [""; 0]);
    for index in 0..248 {
        assert_eq!(subscriptions.acknowledged(&format!("C{index}/USD")), Some(pair(index)));
    }
    assert_eq!(subscriptions.acknowledged("C0/USD"), None);
    assert_eq!(subscriptions.acknowledged("X/USD"), None);
    let due = subscriptions.due().unwrap();
    assert_eq!(due - start, Duration::from_secs(5));
    assert_eq!(asked(&subscriptions.requests(&Toy {}, due)), [(4, 2)]);
    assert_eq!(subscriptions.due().unwrap() - due, Duration::from_secs(10));
    subscriptions.acknowledged("C248/USD");
    subscriptions.acknowledged("C249/USD");
    assert_eq!(subscriptions.due(), None);
}

#[test]
fn no_more_messages_go_out_in_a_second_than_may() {
    let start = Instant::now();
    let symbols = (0..250).map(|index| (pair(index), format!("C{index}/USD"))).collect();
    let rules = Rules { symbols_per_message: 50, messages_per_second: 2, ..Rules::default() };
    let mut subscriptions = Subscriptions::new(symbols, &rules, ANSWER, AUDIT, start);
    let mut now = start;
    for expected in [vec![(1, 50), (2, 50)], vec![(3, 50), (4, 50)], vec![(5, 50)]] {
        assert_eq!(subscriptions.due(), Some(now));
        assert_eq!(asked(&subscriptions.requests(&Toy {}, now)), expected);
        assert_eq!(subscriptions.requests(&Toy {}, now), [""; 0]);
        now += SECOND;
    }
    // What was not answered is asked for again from the start, when the last of them had its time.
    let due = subscriptions.due().unwrap();
    assert_eq!(due, start + 2 * SECOND + ANSWER);
    subscriptions.acknowledged("C0/USD");
    let again = subscriptions.requests(&Toy {}, due);
    assert!(again[0].contains("C1/USD") && !again[0].contains("C0/USD"));
}

#[test]
fn a_refusal_counts_if_it_answers_the_last_request() {
    let start = Instant::now();
    let mut subscriptions = subscriptions(2, start);
    subscriptions.requests(&Toy {}, start);
    assert_eq!(subscriptions.refused("C0/USD", Some(9)), None);
    assert_eq!(subscriptions.refused("C0/USD", Some(1)), Some(pair(0)));
    assert_eq!(subscriptions.refused("C1/USD", None), Some(pair(1)));
    assert!(!subscriptions.any_acknowledged());
    assert_eq!(subscriptions.due(), None);
}

/// As many pairs as `count`, all acknowledged and silent since `start`, and their first audit due.
fn silent(count: usize, start: Instant) -> (Subscriptions, Instant) {
    let mut subscriptions = subscriptions(count, start);
    subscriptions.requests(&Toy {}, start);
    for index in 0..count {
        subscriptions.acknowledged(&format!("C{index}/USD"));
    }
    let due = subscriptions.audit_due();
    assert_eq!(due, start + AUDIT);
    (subscriptions, due)
}

#[test]
fn silent_pairs_are_asked_for_anew_a_chunk_at_a_time_and_the_others_not() {
    let (mut subscriptions, due) = silent(250, Instant::now());
    assert_eq!(subscriptions.audit(&Toy {}, due.checked_sub(SECOND).unwrap()), Audit::default());
    for index in 0..20 {
        assert!(!subscriptions.heard(pair(index), false, due));
    }
    let mut asked = Vec::new();
    for (second, count) in [(0, 100), (1, 100), (2, 30), (3, 0)] {
        let now = due + SECOND * second;
        let audit = subscriptions.audit(&Toy {}, now);
        assert_eq!(subscriptions.audit(&Toy {}, now), Audit::default());
        assert_eq!(subscriptions.audit_due(), now + SECOND);
        assert_eq!((audit.doubted.len(), audit.messages.len()), (count, if count > 0 { 2 } else { 0 }));
        asked.extend(audit.doubted);
    }
    assert_eq!(asked, (20..250).map(pair).collect::<Vec<_>>());
    assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, true));
}

#[test]
fn an_audit_unsubscribes_and_subscribes() {
    let (mut subscriptions, due) = silent(2, Instant::now());
    let messages = subscriptions.audit(&Toy {}, due).messages;
    let symbols = r#"["C0/USD","C1/USD"]"#;
    let expected = [format!(r#"{{"id":2,"unsubscribe":{symbols}}}"#), format!(r#"{{"id":3,"subscribe":{symbols}}}"#)];
    assert_eq!(messages, expected);
}

#[test]
fn a_request_that_is_accepted_acknowledges_what_it_asked_for_and_no_more() {
    let start = Instant::now();
    let mut subscriptions = subscriptions(150, start);
    subscriptions.requests(&Toy {}, start);
    assert_eq!(subscriptions.refused("C101/USD", Some(2)), Some(pair(101)));
    assert_eq!(subscriptions.accepted(2).len(), 49);
    assert_eq!(subscriptions.accepted(2), []);
    assert_eq!(subscriptions.accepted(7), []);
    assert_eq!(subscriptions.shown(pair(0)), Some(pair(0)));
    assert_eq!(subscriptions.accepted(1).len(), 99);
    assert_eq!(subscriptions.due(), None);
}

#[test]
fn what_the_exchange_no_longer_holds_is_asked_for_again() {
    let (mut subscriptions, now) = silent(3, Instant::now());
    assert_eq!(subscriptions.held(&["C2/USD".into(), "C0/USD".into(), "X".into()]), [pair(1)]);
    assert_eq!(subscriptions.held(&["C2/USD".into(), "C0/USD".into()]), []);
    assert_eq!(asked(&subscriptions.requests(&Toy {}, now)), [(2, 1)]);
    assert_eq!(subscriptions.acknowledged("C1/USD"), Some(pair(1)));
    assert_eq!(subscriptions.held(&[]).len(), 3);
    assert!(!subscriptions.any_acknowledged());
}

#[test]
fn the_first_price_after_each_request_is_known_as_such() {
    let (mut subscriptions, due) = silent(1, Instant::now());
    assert!(subscriptions.is_first(pair(0)));
    subscriptions.heard(pair(0), false, due);
    assert!(!subscriptions.is_first(pair(0)));
    subscriptions.audit(&Toy {}, due + AUDIT);
    assert!(subscriptions.is_first(pair(0)));
    assert!(!subscriptions.is_first(pair(1)));
}

#[test]
fn a_snapshot_alone_answers_an_audit() {
    let (mut subscriptions, due) = silent(1, Instant::now());
    subscriptions.audit(&Toy {}, due);
    assert_eq!(subscriptions.acknowledged("C0/USD"), None);
    assert!(!subscriptions.heard(pair(0), false, due));
    assert!(subscriptions.heard(pair(0), true, due));
    assert!(!subscriptions.heard(pair(0), true, due));
    assert_eq!(subscriptions.audit(&Toy {}, (due + AUDIT).checked_sub(SECOND).unwrap()), Audit::default());
    assert_eq!(subscriptions.audit(&Toy {}, due + AUDIT).doubted, [pair(0)]);
}

#[test]
fn an_unanswered_audit_leaves_a_pair_to_be_acknowledged_again() {
    let (mut subscriptions, due) = silent(2, Instant::now());
    subscriptions.audit(&Toy {}, due);
    assert!(subscriptions.heard(pair(1), true, due));
    let late = due + ANSWER;
    assert_eq!(subscriptions.audit(&Toy {}, late), Audit { unanswered: vec![pair(0)], ..Audit::default() });
    assert!(subscriptions.any_acknowledged());
    assert_eq!(asked(&subscriptions.requests(&Toy {}, late)), [(4, 1)]);
    assert_eq!(subscriptions.acknowledged("C0/USD"), Some(pair(0)));
    assert_eq!(subscriptions.due(), None);
}

#[test]
fn a_pair_refused_in_an_audit_is_neither_acknowledged_nor_asked_for_again() {
    let (mut subscriptions, due) = silent(1, Instant::now());
    subscriptions.audit(&Toy {}, due);
    assert_eq!(subscriptions.refused("C0/USD", Some(1)), None);
    assert_eq!(subscriptions.refused("C0/USD", Some(3)), Some(pair(0)));
    assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, false));
    assert_eq!(subscriptions.audit(&Toy {}, due + AUDIT), Audit::default());
}

#[test]
fn where_asking_brings_no_price_silent_pairs_are_doubted_and_silence_of_all_is_told() {
    let start = Instant::now();
    let symbols = (0..2).map(|index| (pair(index), format!("C{index}/USD"))).collect();
    let rules = Rules { audit_every: None, ..Rules::default() };
    let mut subscriptions = Subscriptions::new(symbols, &rules, ANSWER, AUDIT, start);
    subscriptions.requests(&Toy {}, start);
    assert!(!subscriptions.is_without_prices(start + AUDIT), "nothing is acknowledged yet");
    for index in 0..2 {
        subscriptions.acknowledged(&format!("C{index}/USD"));
    }
    let spoke = start + AUDIT / 2;
    subscriptions.heard(pair(1), false, spoke);
    let doubted = |pairs: &[usize]| Audit { doubted: pairs.iter().copied().map(pair).collect(), ..Audit::default() };
    assert_eq!(subscriptions.audit(&Toy {}, start + AUDIT), doubted(&[0]));
    assert!(!subscriptions.is_without_prices(start + AUDIT), "one of them speaks");
    assert_eq!(subscriptions.audit(&Toy {}, spoke + AUDIT), doubted(&[1]));
    assert!(subscriptions.is_without_prices(spoke + AUDIT));
}

#[test]
fn throttling_puts_audits_off() {
    let (mut subscriptions, due) = silent(1, Instant::now());
    subscriptions.throttled(due);
    assert_eq!(subscriptions.audit_due(), due + 2 * ANSWER);
}

#[test]
fn throttling_waits_longer_each_time() {
    let start = Instant::now();
    let mut subscriptions = subscriptions(1, start);
    subscriptions.requests(&Toy {}, start);
    let mut waits = Vec::new();
    for _ in 0..5 {
        subscriptions.throttled(start);
        waits.push((subscriptions.due().unwrap() - start).as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 60, 60]);
}
