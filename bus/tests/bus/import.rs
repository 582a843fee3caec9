use ratebus_model::{Epoch, Timestamp, Version};

use super::*;

/// A message that says `number`, as a publisher elsewhere published it.
fn foreign(subject: &str, number: u64) -> Message {
    let Outgoing { subject, reply, headers, payload } = message(subject, number);
    let version = Version { epoch: Epoch::new(7), sequence: number };
    Message { subject, reply, headers, payload, version, published_at: Timestamp::from_millis(5) }
}

#[tokio::test]
async fn an_imported_message_is_delivered_as_it_is() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut reader = subscribe(&bus, "rates.>", Policy::DropNewest, 8);
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    assert_eq!(bus.import(foreign("rates.a.X", 40)), Ok(1));
    publisher.try_publish(message("rates.a.X", 2)).unwrap();
    assert_eq!(bus.import(foreign("rates.a.X", 50)), Ok(1));
    let got = pending(&mut reader);
    assert_eq!(got.iter().map(|message| message.version.sequence).collect::<Vec<_>>(), [1, 40, 2, 50]);
    assert_eq!((got[1].version.epoch, got[1].published_at), (Epoch::new(7), Timestamp::from_millis(5)));
    let last = bus.last_value(&subject("rates.a.X")).unwrap();
    assert_eq!((number(&last), last.version.epoch), (50, Epoch::new(7)));
    bus.close();
    assert!(bus.import(foreign("rates.a.X", 60)).is_err());
}

/// What leads to other processes, as a link has it.
fn far(pattern: &str, queue: Option<&str>) -> Subscribe {
    let (policy, queue) = (Policy::DropNewest, queue.map(Into::into));
    Subscribe { policy, capacity: 4, queue, far: true, ..named("link", pattern) }
}

#[tokio::test]
async fn what_came_from_elsewhere_does_not_go_there_again() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let (mut out, mut member) = (bus.subscribe(far("x.>", None)), bus.subscribe(far("x.>", Some("group"))));
    assert_eq!(bus.import(foreign("x.y", 1)), Ok(0));
    assert_eq!(publisher.try_publish(message("x.y", 2)), Ok(0), "nobody here reads it");
    assert_eq!((numbers(&mut out), numbers(&mut member)), (vec![2], vec![2]));
}

#[tokio::test]
async fn a_member_elsewhere_is_asked_when_none_here_has_room() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let here = Subscribe { policy: Policy::DropNewest, capacity: 2, queue: Some("group".into()), ..named("m", "x.*") };
    let (mut far, mut near) = (bus.subscribe(far("x.>", Some("group"))), bus.subscribe(here));
    for number in 0..9 {
        publisher.try_publish(message("x.y", number)).unwrap();
    }
    // When all are full, it is the one here that drops.
    assert_eq!((numbers(&mut near), numbers(&mut far)), (vec![0, 1], vec![2, 3, 4, 5]));
    assert_eq!((near.stats().dropped, far.stats().dropped), (3, 0));
}

#[tokio::test]
async fn members_get_from_elsewhere_what_was_decided_there() {
    let bus = bus();
    let member = |group: &str| Subscribe {
        policy: Policy::DropNewest,
        capacity: 2,
        queue: Some(group.into()),
        ..named("member", "rates.>")
    };
    let mut members = ["one", "one", "two"].map(|group| bus.subscribe(member(group)));
    let mut reader = subscribe(&bus, "rates.>", Policy::DropNewest, 9);
    assert_eq!(bus.import(foreign("rates.a.X", 1)), Ok(1));
    assert_eq!(numbers(&mut reader), [1]);
    for number in 2..6 {
        assert_eq!(bus.import_to("one", foreign("rates.a.X", number)), Ok(1));
    }
    assert_eq!(bus.import_to("three", foreign("rates.a.X", 6)), Ok(0));
    let [first, second, other] = members.each_mut().map(numbers);
    assert_eq!((first.len(), second.len(), other.len(), numbers(&mut reader).len()), (2, 2, 0, 0));
    assert_eq!(number(&bus.last_value(&subject("rates.a.X")).unwrap()), 1);
}

#[tokio::test]
async fn it_is_told_who_reads_here() {
    let bus = bus();
    let generation = bus.generation();
    let member = Subscribe { queue: Some("group".into()), ..named("member", "x.>") };
    let _subscriptions = [bus.subscribe(far("y.>", None)), bus.subscribe(member), bus.subscribe(named("r", "z"))];
    assert!(bus.generation() > generation);
    let mut interests = Vec::new();
    bus.each_interest(|pattern, group| interests.push((pattern.to_string(), group.map(ToString::to_string))));
    interests.sort();
    assert_eq!(interests, [("x.>".to_owned(), Some("group".to_owned())), ("z".to_owned(), None)]);
}

#[tokio::test]
async fn what_is_known_here_is_not_imported_as_long_as_its_publisher_goes_on() {
    let bus = bus();
    let mut reader = subscribe(&bus, "rates.>", Policy::DropNewest, 8);
    assert_eq!(bus.import_state(foreign("rates.a.X", 40)), Ok(1));
    let publisher = bus.publisher("p");
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    assert_eq!(bus.import_state(foreign("rates.a.X", 41)), Ok(0));
    assert_eq!(bus.import_state(foreign("rates.a.Y", 42)), Ok(1));
    let is_published = || ["rates.a.X", "rates.a.Y", "rates.a.Z"].map(|name| bus.is_published_here(&subject(name)));
    assert_eq!(is_published(), [true, false, false]);
    drop(publisher);
    assert_eq!(is_published(), [false; 3]);
    assert_eq!(bus.import_state(foreign("rates.a.X", 43)), Ok(1));
    assert_eq!(pending(&mut reader).iter().map(|message| number(message)).collect::<Vec<_>>(), [40, 1, 42, 43]);
}

#[tokio::test]
async fn what_is_gone_is_not_kept_and_leaves_its_place_to_others() {
    let bus = bus();
    let mut reader = subscribe(&bus, "rates.>", Policy::DropNewest, 8);
    let publisher = bus.publisher("p");
    let end = || Outgoing::new(subject("rates.a.X"), Payload::Gone);
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    publisher.try_publish(end()).unwrap();
    assert!(bus.last_value(&subject("rates.a.X")).is_none() && !bus.is_published_here(&subject("rates.a.X")));
    assert_eq!(bus.import_state(foreign("rates.a.X", 40)), Ok(1));
    assert_eq!(number(&bus.last_value(&subject("rates.a.X")).unwrap()), 40);
    let heard = pending(&mut reader);
    assert!(matches!(heard[1].payload, Payload::Gone) && heard[1].version.is_after(heard[0].version));
    bus.import_state(Message { payload: Payload::Gone, ..foreign("rates.a.X", 41) }).unwrap();
    assert!(bus.last_value(&subject("rates.a.X")).is_none());
    publisher.try_publish(message("rates.a.X", 2)).unwrap();
    assert!(bus.is_published_here(&subject("rates.a.X")));
}

#[tokio::test]
async fn whose_a_last_value_is_stays_known_when_its_publisher_has_ended() {
    let bus = bus();
    for (name, subject, number) in
        [("p", "rates.a.X", 1), ("p", "rates.a.Y", 2), ("q", "rates.a.Y", 3), ("q", "rates.a.Z", 4)]
    {
        bus.publisher(name).try_publish(message(subject, number)).unwrap();
    }
    bus.import_state(foreign("rates.a.Z", 40)).unwrap();
    let said_by = |name| bus.last_said_by(name, &"rates.>".parse().unwrap());
    assert_eq!((said_by("p"), said_by("q")), (vec![subject("rates.a.X")], vec![subject("rates.a.Y")]));
    assert!(bus.last_said_by("p", &"quotes.>".parse().unwrap()).is_empty());
}

#[tokio::test]
async fn an_imported_answer_reaches_its_request() {
    let bus = bus();
    let client = bus.publisher("client");
    let mut requests = subscribe(&bus, "rates.get", Policy::DropNewest, 8);
    let answered = async {
        let request = requests.recv().await.unwrap();
        bus.import(foreign(request.reply.clone().unwrap().as_str(), 10)).unwrap();
    };
    let (answer, ()) = tokio::join!(client.request(message("rates.get", 1), Duration::from_secs(2)), answered);
    assert_eq!(number(&answer.unwrap()), 10);
}
