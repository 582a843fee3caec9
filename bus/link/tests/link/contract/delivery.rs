//! Who has which messages, and in which order.

use std::collections::HashMap;

use super::*;

pub(super) async fn each_reader_has_what_each_publisher_says_in_order(backend: impl Backend) {
    const COUNT: u64 = 300;
    let processes = [backend.join().await, backend.join().await];
    let mut readers = processes.each_ref().map(|process| process.reader("events.>"));
    for number in 0..COUNT {
        for process in &processes {
            process.say(["events.a", "events.b"][(number % 2) as usize], number);
        }
    }
    for reader in &mut readers {
        let mut said: HashMap<(Subject, _), Vec<u64>> = HashMap::new();
        for _ in 0..COUNT * 2 {
            let message = next(reader).await;
            said.entry((message.subject.clone(), message.version.epoch)).or_default().push(number(&message));
        }
        assert_eq!(said.len(), 4);
        for ((subject, _), numbers) in said {
            let first = u64::from(subject.as_str() == "events.b");
            assert!(numbers.into_iter().eq((first..COUNT).step_by(2)), "{subject}");
        }
    }
    stop(processes).await;
}

pub(super) async fn a_message_arrives_as_it_was_published(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [one, two] = &processes;
    let mut reader = two.reader("events.x");
    for sequence in 1..=2 {
        let headers = vec![("trace".into(), "a b".into())];
        let payload = Payload::Bytes(vec![0, 255, 10, 34].into());
        let published = Outgoing { headers: headers.clone(), ..Outgoing::new("events.x".parse().unwrap(), payload) };
        one.publisher.try_publish(published).unwrap();
        let arrived = next(&mut reader).await;
        assert_eq!(arrived.version, Version { epoch: one.publisher.epoch(), sequence });
        assert_eq!((&arrived.headers, &arrived.reply), (&headers, &None));
        let Payload::Bytes(bytes) = &arrived.payload else { panic!("{arrived:?}") };
        assert_eq!(bytes[..], [0, 255, 10, 34]);
    }
    stop(processes).await;
}

pub(super) async fn what_is_not_read_is_conflated_under_each_subject(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [one, two] = &processes;
    let (mut newest, mut end) = (two.inbox("events.*", Policy::Conflate, 10), two.reader("events.last.x"));
    for number in 1..=100 {
        one.say("events.a", number);
        one.say("events.b", number * 2);
    }
    one.say("events.last.x", END);
    until_end(&mut end).await;
    assert_eq!([next(&mut newest).await, next(&mut newest).await].map(|message| number(&message)), [100, 200]);
    assert!(newest.try_recv().is_none());
    assert_eq!((newest.stats().conflated, newest.stats().dropped), (198, 0));
    stop(processes).await;
}

pub(super) async fn a_full_inbox_drops_what_its_policy_says(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [one, two] = &processes;
    let policies = [Policy::DropOldest, Policy::DropNewest, Policy::Disconnect, Policy::Conflate];
    let mut inboxes = policies.map(|policy| two.inbox("events.*", policy, 4));
    let mut end = two.reader("events.last.x");
    for number in 0..10 {
        one.say(&format!("events.{number}"), number);
    }
    one.say("events.last.x", END);
    until_end(&mut end).await;
    let expected: [(&[u64], u64); 4] = [(&[6, 7, 8, 9], 6), (&[0, 1, 2, 3], 6), (&[0, 1, 2, 3], 1), (&[6, 7, 8, 9], 6)];
    for ((policy, inbox), (numbers, dropped)) in policies.iter().zip(&mut inboxes).zip(expected) {
        let held: Vec<u64> = std::iter::from_fn(|| inbox.try_recv()).map(|message| number(&message)).collect();
        assert_eq!((&held[..], inbox.stats().dropped), (numbers, dropped), "{policy:?}");
        assert_eq!(inbox.stats().disconnected, *policy == Policy::Disconnect);
    }
    assert!(timeout(DEADLINE, inboxes[2].recv()).await.unwrap().is_none());
    stop(processes).await;
}

pub(super) async fn a_pattern_matches_its_subjects_alone(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [one, two] = &processes;
    let cases: [(&str, &[u64]); 6] = [
        ("events.a", &[0]),
        ("events.*", &[0, 1]),
        ("events.>", &[0, 1, 2, 3]),
        ("events.*.c", &[2]),
        ("*.a.>", &[2, 3]),
        ("events.a.c.>", &[3]),
    ];
    let mut readers = cases.map(|(pattern, _)| two.reader(pattern));
    let mut end = two.reader("events.last.x.y");
    for (number, subject) in ["events.a", "events.b", "events.a.c", "events.a.c.d"].into_iter().enumerate() {
        one.say(subject, number as u64);
    }
    one.say("events.last.x.y", END);
    until_end(&mut end).await;
    for ((pattern, expected), reader) in cases.into_iter().zip(&mut readers) {
        let heard = std::iter::from_fn(|| reader.try_recv()).map(|message| number(&message));
        let heard: Vec<u64> = heard.filter(|number| *number != END).collect();
        assert_eq!(heard, expected, "{pattern}");
    }
    stop(processes).await;
}

pub(super) async fn the_last_value_comes_first_and_nothing_older_after_it(backend: impl Backend) {
    let (one, two) = (backend.join().await, backend.join().await);
    one.say("rates.a.X", 1);
    assert_eq!(number(&*next(&mut two.subscribe("rates.*.X")).await), 1);
    assert_eq!(number(&two.bus.last_value(&"rates.a.X".parse().unwrap()).unwrap()), 1);
    one.say("rates.a.X", 2);
    let mut early = two.subscribe("rates.>");
    while number(&*next(&mut early).await) < 2 {}
    let three = backend.join().await;
    let mut late = three.subscribe("rates.>");
    assert_eq!(number(&*next(&mut late).await), 2);
    one.say("rates.a.X", 3);
    for reader in [&mut early, &mut late] {
        let (mut last, mut heard) = (None, 2);
        while heard < 3 {
            let message = next(reader).await;
            assert!(number(&message) >= heard);
            heard = number(&message);
            let before: Option<Version> = last.replace(message.version);
            assert!(before.is_none_or(|before| message.version.is_after(before)), "{message:?}");
        }
    }
    stop([one, two, three]).await;
}

pub(super) async fn a_closed_bus_ends_what_was_asked_of_it(backend: impl Backend) {
    let processes = [backend.join().await];
    let [one] = &processes;
    let mut reader = one.reader("events.>");
    one.say("events.x", 1);
    let request = one.publisher.request(message("events.x", 2), DEADLINE);
    let close = async {
        tokio::task::yield_now().await;
        one.bus.close();
    };
    let (answer, ()) = tokio::join!(request, close);
    assert_eq!(answer.unwrap_err(), ratebus_bus::RequestError::Closed);
    assert_eq!([next(&mut reader).await, next(&mut reader).await].map(|message| number(&message)), [1, 2]);
    assert!(timeout(DEADLINE, reader.recv()).await.unwrap().is_none());
    assert!(one.publisher.try_publish(message("events.x", 3)).is_err());
    stop(processes).await;
}
