//! Processes that a broker joins, whichever it is: one speaker per price, outages, and members that die.

use super::*;

pub(crate) async fn what_one_publishes_all_others_get(kind: BrokerKind) {
    let broker = start(kind);
    let (exchange, first) = (Process::join(kind, &broker), Process::join(kind, &broker));
    let mut rates = first.subscribe("rates.>");
    exchange.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    exchange.rate(101);
    assert_eq!(ask(&mut rates).await, 101);
    // One that comes later is whole at once.
    let second = Process::join(kind, &broker);
    assert_eq!(ask(&mut second.subscribe("rates.>")).await, 101);
    for process in [exchange, first, second] {
        process.stop().await;
    }
}

pub(crate) async fn of_two_publishers_one_is_heard_until_it_stops(kind: BrokerKind) {
    let broker = start(kind);
    let (one, two, reader) = (Process::join(kind, &broker), Process::join(kind, &broker), Process::join(kind, &broker));
    let mut rates = reader.subscribe("rates.>");
    one.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    two.rate(200);
    for number in 101..110 {
        one.rate(number);
        two.rate(number + 100);
        assert_eq!(ask(&mut rates).await, number);
    }
    one.stop().await;
    assert_eq!(ask(&mut rates).await, 209);
    for process in [two, reader] {
        process.stop().await;
    }
}

pub(crate) async fn what_is_said_just_before_the_end_goes_out(kind: BrokerKind) {
    let broker = start(kind);
    let reader = Process::join(kind, &broker);
    let mut events = reader.subscribe("events.>");
    let ready = async |process: &Process| {
        eventually("it joins", || matches!(process.health.state(), ratebus_sdk::HealthState::Ready)).await;
    };
    ready(&reader).await;
    for number in 0..8 {
        let process = Process::join(kind, &broker);
        ready(&process).await;
        let word = Payload::Bytes(number.to_string().into());
        process.publisher.try_publish(Outgoing::new("events.end".parse().unwrap(), word)).unwrap();
        process.stop().await;
        let message = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        let Payload::Bytes(text) = &message.payload else { panic!("{message:?}") };
        assert_eq!(*text, number.to_string());
    }
    reader.stop().await;
}

pub(crate) async fn a_publisher_that_is_gone_leaves_its_place_while_its_process_goes_on(kind: BrokerKind) {
    let broker = start(kind);
    let (mut one, two, reader) =
        (Process::join(kind, &broker), Process::join(kind, &broker), Process::join(kind, &broker));
    let mut rates = reader.subscribe("rates.>");
    one.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    two.rate(200);
    let mut here = one.subscribe("rates.>");
    one.publisher = one.bus.publisher("another");
    for rates in [&mut rates, &mut here] {
        while ask(rates).await != 200 {}
    }
    for process in [one, two, reader] {
        process.stop().await;
    }
}

pub(crate) async fn after_an_outage_the_newest_value_comes(kind: BrokerKind) {
    let broker = start(kind);
    let (exchange, reader) = (Process::join(kind, &broker), Process::join(kind, &broker));
    let mut rates = reader.subscribe("rates.>");
    exchange.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    broker.kill();
    eventually("the outage is noticed", || !matches!(exchange.health.state(), HealthState::Ready)).await;
    for number in 101..200 {
        exchange.rate(number);
    }
    broker.restart();
    assert_eq!(ask(&mut rates).await, 199);
    for process in [exchange, reader] {
        process.stop().await;
    }
}

pub(crate) async fn what_a_process_does_not_share_stays_there(kind: BrokerKind) {
    let broker = start(kind);
    let (one, two) = (Process::join(kind, &broker), Process::join(kind, &broker));
    one.ready().await;
    two.ready().await;
    let mut all = two.subscribe(">");
    for subject in ["local.x", "$SYS.x", "events.x"] {
        one.say(subject, 1);
    }
    // In the order of publishing: nothing else came.
    assert_eq!(next(&mut all).await.subject.as_str(), "events.x");
    for process in [one, two] {
        process.stop().await;
    }
}

/// However much is shared, links alone speak where they speak to each other, and nothing comes twice.
pub(crate) async fn everything_may_be_shared(kind: BrokerKind) {
    let broker = start(kind);
    let join = || Process::start_with(target(kind, &broker.url(), None), KEY, &[">"]);
    let (one, two) = (join(), join());
    one.ready().await;
    two.ready().await;
    let mut reader = two.reader(">");
    let mut members = [two.member("x.y", "group")];
    all_served(&one, "x.y", &mut members).await;
    for subject in ["_LINK.peers", "_LINK.to.0000000000000001", "x.y", "x.z"] {
        one.say(subject, FIRST);
    }
    one.say("x.y", END);
    let mut heard = Vec::new();
    while heard.last() != Some(&("x.y".to_owned(), END)) {
        let message = next(&mut reader).await;
        let number = number(&message);
        heard.extend((number >= FIRST).then(|| (message.subject.to_string(), number)));
    }
    let expected = [("x.y", FIRST), ("x.z", FIRST), ("x.y", END)].map(|(subject, number)| (subject.to_owned(), number));
    assert_eq!(heard, expected);
    assert_eq!(until_end(&mut members[0]).await, [FIRST]);
    for process in [one, two] {
        process.stop().await;
    }
}

/// No goodbye: the others notice by themselves, and until then what is meant for it is lost. Nothing comes twice.
pub(crate) async fn a_member_that_dies_is_soon_passed_over(kind: BrokerKind) {
    let broker = start(kind);
    let [one, dies, stays] = [(); 3].map(|()| Process::join(kind, &broker));
    let mut members = [dies.member("events.>", "group"), stays.member("events.>", "group")];
    all_served(&one, "events.x", &mut members).await;
    dies.link.as_ref().unwrap().run.abort();
    let [_, stays_served] = &mut members;
    let (mut row, mut number, mut last) = (0, FIRST, 0);
    let deadline = Instant::now() + DEADLINE;
    // While both are thought to be there, every other one is lost.
    while row < 10 {
        assert!(Instant::now() < deadline, "it is served though it is dead");
        number += 1;
        one.say("events.x", number);
        let wait = timeout(Duration::from_millis(100), stays_served.recv()).await;
        row = match wait {
            Ok(message) => {
                let heard = self::number(&message.unwrap());
                assert!(heard > last, "{heard} after {last}");
                last = heard;
                row + 1
            }
            Err(_) => 0,
        };
    }
    for process in [one, stays] {
        process.stop().await;
    }
}

/// Of a price that two processes know one speaks, to members of queue groups too.
pub(crate) async fn who_stands_by_serves_no_members(kind: BrokerKind) {
    let broker = start(kind);
    let [one, two, reader] = [(); 3].map(|()| Process::join(kind, &broker));
    let mut members = [reader.member("rates.>", "group")];
    all_served(&one, "rates.a.X", &mut members).await;
    for number in 0..20 {
        two.say("rates.a.X", FIRST + 1000 + number);
        one.say("rates.a.X", FIRST + number);
    }
    one.say("rates.a.X", END);
    assert!(until_end(&mut members[0]).await.into_iter().eq(FIRST..FIRST + 20));
    for process in [one, two, reader] {
        process.stop().await;
    }
}

/// Members come, leave and die, and the broker goes and comes back: a message may be lost, and none is served twice.
pub(crate) async fn whatever_happens_no_message_is_served_twice(kind: BrokerKind) {
    let broker = start(kind);
    let publishers = [Process::join(kind, &broker), Process::join(kind, &broker)];
    let mut processes: Vec<_> = (0..4).map(|_| Process::join(kind, &broker)).collect();
    let mut members: Vec<_> = processes.iter().map(|process| process.member("events.>", "group")).collect();
    for publisher in &publishers {
        all_served(publisher, "events.x", &mut members).await;
    }
    let (mut heard, mut said) = (Vec::new(), FIRST);
    for step in 0..8 {
        match step {
            1 => drop(members.remove(0)),
            2 => members.push(processes[0].member("events.x", "group")),
            3 => processes.remove(1).link.unwrap().run.abort(),
            4 => broker.kill(),
            5 => broker.restart(),
            6 => members.extend([publishers[0].member("events.x", "group"), processes[1].member("*.x", "group")]),
            7 => processes.remove(2).stop().await,
            _ => {}
        }
        for _ in 0..100 {
            for publisher in &publishers {
                publisher.say("events.x", said);
                said += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = members.iter_mut().filter_map(Subscription::try_recv);
            heard.extend(now.map(|message| number(&message)));
        }
    }
    for member in &mut members {
        heard.extend(std::iter::from_fn(|| member.try_recv()).map(|message| number(&message)));
    }
    heard.retain(|number| *number >= FIRST);
    let count = heard.len();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), count, "each at most once");
    assert!(count >= 100, "{count} were served");
    for process in processes.into_iter().chain(publishers) {
        process.stop().await;
    }
}

/// A queue group does not depend on a broker as far as there are members where a message is published.
pub(crate) async fn members_of_the_same_process_are_served_first(kind: BrokerKind) {
    let broker = start(kind);
    let (one, two) = (Process::join(kind, &broker), Process::join(kind, &broker));
    let mut far = [two.member("events.>", "group")];
    all_served(&one, "events.x", &mut far).await;
    let mut near = one.member("events.x", "group");
    for number in FIRST..FIRST + 10 {
        one.say("events.x", number);
        assert_eq!(self::number(&near.try_recv().unwrap()), number);
    }
    drop(near);
    one.say("events.x", END);
    assert_eq!(until_end(&mut far[0]).await, [0; 0]);
    for process in [one, two] {
        process.stop().await;
    }
}
