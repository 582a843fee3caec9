use proptest::prelude::*;
use ratebus_model::{Limits, Market, Rate, RateValue};

use super::*;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLD_KEY: &[u8] = b"fedcba9876543210fedcba9876543210";

fn now() -> Arrival {
    let at = Instant::now() + Duration::from_secs(1 << 20);
    Arrival { time: Timestamp::from_millis(1_790_000_000_000), at }
}

fn after(start: Arrival, span: Duration) -> Arrival {
    Arrival { time: start.time.plus(span), at: start.at + span }
}

fn rate(now: Arrival) -> Rate {
    let [bid, ask] = ["81413.20", "81413.3"].map(|text| text.parse().unwrap());
    let version = Version::first(Epoch::new(1));
    Rate {
        source: "kraken".parse().unwrap(),
        pair: "BTC_USD".parse().unwrap(),
        value: RateValue::TwoSided { bid, ask },
        market: Market::Online,
        event_time: None,
        recv_time: now.time,
        confirmed_at: now.at,
        limits: Limits::STREAM,
        version,
    }
}

fn message(now: Arrival) -> Message {
    let rate = rate(now);
    Message {
        subject: Subject::rate(rate.source, rate.pair),
        reply: Some("_INBOX.1".parse().unwrap()),
        headers: vec![("a".into(), "b".into())],
        payload: rate.into(),
        version: Version::first(Epoch::new(1)),
        published_at: now.time,
    }
}

fn word() -> Word {
    Word { version: Version { epoch: Epoch::new(7), sequence: 9 }, follows: Some(Epoch::new(6)) }
}

fn sealed(keys: &Keys, now: Arrival) -> Bytes {
    let message = message(now);
    Letter::new(word(), &message, now).seal(&message.subject, keys).unwrap()
}

fn open(text: &[u8], keys: &Keys, now: Arrival) -> Result<Opened, Refused> {
    Letter::open(&"rates.kraken.BTC_USD".parse().unwrap(), text, keys, now, LATE)
}

#[test]
fn what_is_sent_arrives_and_has_aged() {
    let sent = now();
    let keys = Keys::new([KEY]);
    let later = after(sent, Duration::from_secs(2));
    let opened = open(&sealed(&keys, sent), &keys, later).unwrap();
    assert_eq!((opened.word, opened.sent_at), (word(), sent.at));
    assert_eq!(opened.said(later.at), Said::Something { fresh: true });
    assert_eq!(opened.said(later.at + Limits::STREAM.stale_after), Said::Something { fresh: false });
    let arrived = opened.message.unwrap();
    let Payload::Rate(rate) = &arrived.payload else { panic!() };
    assert_eq!(rate.feed_age(later.at), Duration::from_secs(2));
    assert_eq!((arrived.version, arrived.published_at), (word().version, sent.time));
    assert_eq!((arrived.reply, arrived.headers), (message(sent).reply, message(sent).headers));
}

#[test]
fn a_goodbye_arrives() {
    let (now, keys, subject) = (now(), Keys::new([KEY]), "rates.kraken.BTC_USD".parse().unwrap());
    let opened = open(&Letter::goodbye(word(), now).seal(&subject, &keys).unwrap(), &keys, now).unwrap();
    assert!(opened.message.is_none() && opened.word == word() && opened.said(now.at) == Said::Goodbye);
}

#[test]
fn only_who_has_a_key_is_believed() {
    let now = now();
    let (new, old, both, none) = (Keys::new([KEY]), Keys::new([OLD_KEY]), Keys::new([KEY, OLD_KEY]), Keys::default());
    let refused = |sender: &Keys, reader: &Keys| open(&sealed(sender, now), reader, now).err();
    assert_eq!(refused(&new, &new), None);
    assert_eq!(refused(&old, &both), None);
    assert_eq!(refused(&both, &new), None);
    assert_eq!(refused(&both, &old), Some(Refused::Forged(Forged::UnknownKey)));
    assert_eq!(refused(&none, &new), Some(Refused::Forged(Forged::Unsigned)));
    assert_eq!(refused(&new, &none), None);
}

#[test]
fn a_message_is_good_under_its_own_subject_alone() {
    let (now, keys) = (now(), Keys::new([KEY]));
    let other = "rates.kraken.ETH_USD".parse().unwrap();
    let refused = |keys: &Keys| Letter::open(&other, &sealed(keys, now), keys, now, LATE).err();
    assert_eq!(refused(&keys), Some(Refused::Forged(Forged::WrongCode)));
    assert_eq!(refused(&Keys::default()), Some(Refused::Mislabelled));
}

#[test]
fn an_answer_is_asked_for_where_answers_go() {
    let (now, keys) = (now(), Keys::new([KEY]));
    let subject = message(now).subject;
    let asking = Message { reply: Some("spreads.BTC_USD".parse().unwrap()), ..message(now) };
    let text = Letter::new(word(), &asking, now).seal(&subject, &keys).unwrap();
    assert_eq!(open(&text, &keys, now).err(), Some(Refused::Mislabelled));
}

#[test]
fn what_comes_late_or_from_the_future_is_refused() {
    let (sent, keys) = (now(), Keys::default());
    let text = sealed(&keys, sent);
    let at = |span| open(&text, &keys, after(sent, span)).err();
    assert_eq!(at(LATE), None);
    assert_eq!(at(LATE + Duration::from_millis(1)), Some(Refused::Late));
    let early = |span| open(&sealed(&keys, after(sent, span)), &keys, sent).err();
    assert_eq!(early(LATE), None);
    assert_eq!(early(LATE + Duration::from_millis(1)), Some(Refused::Early));
}

#[test]
fn another_form_is_refused() {
    let (now, keys) = (now(), Keys::default());
    let text = String::from_utf8(sealed(&keys, now).to_vec()).unwrap();
    let long = format!("{}{text}", " ".repeat(LONGEST));
    for text in ["", "{}", "null", "[1]", r#"{"v":1}"#, r#"{"v":1,"body":{}}"#, &long, &text[1..]] {
        assert_eq!(open(text.as_bytes(), &keys, now).err(), Some(Refused::Malformed));
    }
}

/// A later version may mean something else by every other member, or have others.
#[test]
fn another_version_of_the_form_is_refused_as_such() {
    let (now, keys) = (now(), Keys::default());
    let text = String::from_utf8(sealed(&keys, now).to_vec()).unwrap();
    let newer = text.replacen(r#""v":1"#, r#""v":2"#, 1);
    for text in [newer.as_str(), r#"{"v":0,"body":{}}"#, r#"{"v":2,"mac":[1],"says":"hello"}"#] {
        assert_eq!(open(text.as_bytes(), &keys, now).err(), Some(Refused::Version), "{text}");
    }
}

/// What processes of this version send, kept as it was sent: every later one must be able to read it. Never changed.
const SENT: [&str; 2] = [
    r#"{"v":1,"mac":"3eb1bd43:fa47ac406990ac0f91bc1fa7713c8eaaa8c41224c73ba7a78b3b2319299d1c53","body":{"epoch":"0000000000000007","sequence":9,"follows":"0000000000000006","sentAt":"2026-09-21T14:13:20.000000Z","reply":"_INBOX.1","headers":[["a","b"]],"payload":{"rate":{"source":"kraken","pair":"BTC_USD","kind":"two_sided","bid":"81413.20","ask":"81413.3","market":"online","eventTime":null,"receivedTime":"2026-09-21T14:13:20.000000Z","feedAgeMs":0,"staleAfterMs":10000,"deadAfterMs":60000,"epoch":"0000000000000001","sequence":1}}}}"#,
    r#"{"v":1,"mac":"3eb1bd43:d45d2fdb11b3d9b82c910eb2b7b6862e700ce0cfc7362be14fb2f9036d36d2a5","body":{"epoch":"0000000000000007","sequence":9,"follows":"0000000000000006","sentAt":"2026-09-21T14:13:20.000000Z","payload":null}}"#,
];

#[test]
fn what_was_ever_sent_is_read() {
    let (now, keys) = (now(), Keys::new([KEY]));
    let [said, goodbye] = SENT.map(|text| open(text.as_bytes(), &keys, now).unwrap());
    let arrived = said.message.unwrap();
    let Payload::Rate(here) = &arrived.payload else { panic!() };
    assert_eq!((said.word, Rate::clone(here)), (word(), rate(now)));
    assert_eq!((arrived.reply, arrived.headers), (message(now).reply, message(now).headers));
    assert!(goodbye.word == word() && goodbye.message.is_none());
}

#[test]
fn what_a_newer_sender_adds_is_ignored_and_what_it_leaves_out_is_nothing() {
    let (now, keys, subject) = (now(), Keys::new([KEY]), message(now()).subject);
    let mut envelope: serde_json::Value = serde_json::from_slice(&sealed(&keys, now)).unwrap();
    let body = envelope["body"].as_object_mut().unwrap();
    body.insert("mood".to_owned(), "good".into());
    for member in ["follows", "reply", "headers"] {
        body.remove(member).unwrap();
    }
    let body = envelope["body"].to_string();
    let mac = keys.sign(&subject, &body).unwrap();
    let text = format!(r#"{{"kind":"new","v":1,"mac":"{mac}","body":{body},"more":{{}}}}"#);
    let opened = open(text.as_bytes(), &keys, now).unwrap();
    assert_eq!(opened.word, Word { follows: None, ..word() });
    let arrived = opened.message.unwrap();
    assert!(arrived.reply.is_none() && arrived.headers.is_empty());
}

proptest! {
    /// Whatever is changed about a signed message: it is refused, or it says what it said.
    #[test]
    fn a_changed_message_is_refused(place: prop::sample::Index, flip in 1u8..) {
        let (now, keys) = (now(), Keys::new([KEY]));
        let mut text = sealed(&keys, now).to_vec();
        let place = place.index(text.len());
        text[place] ^= flip;
        if let Ok(opened) = open(&text, &keys, now) {
            let Payload::Rate(here) = opened.message.unwrap().payload else { panic!() };
            prop_assert_eq!(opened.word, word());
            prop_assert_eq!(Rate::clone(&here), rate(now));
        }
    }
}

/// The envelopes of `docs/messages.md`, each under the subject that is named last before it.
#[test]
fn the_documented_messages_are_understood() {
    let text = include_str!("../../../../docs/messages.md");
    let mut opened = Vec::new();
    for (before, after) in text.match_indices("```json\n").map(|(at, fence)| (&text[..at], &text[at + fence.len()..])) {
        let subject: Subject = before.rsplit('`').nth(1).unwrap().parse().unwrap();
        let (envelope, _) = after.split_once("\n```").unwrap();
        let keys = if envelope.contains("mac") { Keys::new([KEY]) } else { Keys::default() };
        let now = Arrival { time: "2026-09-21T14:13:21Z".parse().unwrap(), ..now() };
        let message = Letter::open(&subject, envelope.as_bytes(), &keys, now, LATE).unwrap().message.unwrap();
        let body = serde_json::from_str::<Envelope<'_>>(envelope).unwrap().body;
        let written = serde_json::from_str::<Letter>(body.get()).unwrap();
        assert_eq!(serde_json::to_string(&written).unwrap(), body.get(), "as it is sent");
        opened.push(message);
    }
    let subjects: Vec<_> = opened.iter().map(|message| message.subject.as_str()).collect();
    assert_eq!(subjects, ["rates.kraken.BTC_USD", "_LINK.peers", "events.jobs.x"]);
    assert_eq!(opened[2].version.sequence, 3);
    let Payload::Rate(rate) = &opened[0].payload else { panic!() };
    assert_eq!(rate.version.sequence, 1702);
}
