//! What holds whatever the broker.

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

pub(crate) async fn after_an_outage_the_newest_value_comes(kind: BrokerKind) {
    let broker = start(kind);
    let (exchange, reader) = (Process::join(kind, &broker), Process::join(kind, &broker));
    let mut rates = reader.subscribe("rates.>");
    exchange.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    broker.kill();
    eventually("the outage is noticed", || !matches!(exchange.health.state(), ratebus_sdk::HealthState::Ready)).await;
    for number in 101..200 {
        exchange.rate(number);
    }
    broker.restart();
    assert_eq!(ask(&mut rates).await, 199);
    for process in [exchange, reader] {
        process.stop().await;
    }
}

pub(crate) async fn a_request_is_answered_elsewhere(kind: BrokerKind) {
    let broker = start(kind);
    let (client, responder) = (Process::join(kind, &broker), Process::join(kind, &broker));
    let pattern: Pattern = "events.ask".parse().unwrap();
    let every = Subscribe { policy: Policy::DropNewest, ..Subscribe::new("test", pattern) };
    let mut requests = responder.bus.subscribe(every);
    let answering = responder.publisher.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let answer = Outgoing::new(request.reply.clone().unwrap(), request.payload.clone());
            answering.try_publish(answer).unwrap();
        }
    });
    let ask = async |text: &'static str, limit| {
        let question = Outgoing::new("events.ask".parse().unwrap(), Payload::Bytes(text.into()));
        client.publisher.request(question, limit).await
    };
    // Until everybody is connected, nobody answers.
    let deadline = Instant::now() + DEADLINE;
    while ask("first", Duration::from_millis(200)).await.is_err() {
        assert!(Instant::now() < deadline, "nobody answers");
    }
    let (one, two) = tokio::join!(ask("one", DEADLINE), ask("two", DEADLINE));
    for (answer, expected) in [(one.unwrap(), "one"), (two.unwrap(), "two")] {
        let Payload::Bytes(text) = &answer.payload else { panic!("{answer:?}") };
        assert_eq!(text, expected);
        assert_eq!(answer.version.epoch, responder.publisher.epoch());
    }
    for process in [client, responder] {
        process.stop().await;
    }
}
