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
