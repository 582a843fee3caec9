//! Redis keeps last values as well as it can; whatever becomes of them, messages travel.

use super::*;

const LAST: &str = "ratebus:last:rates.kraken.BTC_USD";

#[tokio::test]
async fn what_a_full_redis_cannot_keep_is_not_kept_in_an_old_state_either() {
    let broker = start(BrokerKind::Redis);
    let (exchange, reader) = (Process::join(BrokerKind::Redis, &broker), Process::join(BrokerKind::Redis, &broker));
    let mut rates = reader.subscribe("rates.>");
    exchange.rate(100);
    assert_eq!(ask(&mut rates).await, 100);
    eventually("the value is kept", || broker.redis_command(&["EXISTS", LAST]) == "1").await;
    broker.redis_command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    exchange.rate(101);
    assert_eq!(ask(&mut rates).await, 101);
    eventually("the old value is gone", || broker.redis_command(&["EXISTS", LAST]) == "0").await;
    broker.redis_command(&["DEL", "ratebus:subjects"]);
    broker.redis_command(&["CONFIG", "SET", "maxmemory", "0"]);
    exchange.rate(102);
    eventually("it is kept again", || broker.redis_command(&["EXISTS", LAST]) == "1").await;
    assert_eq!(broker.redis_command(&["ZCARD", "ratebus:subjects"]), "1", "and listed");
    for process in [exchange, reader] {
        process.stop().await;
    }
}

#[tokio::test]
async fn what_is_gone_is_kept_no_longer_and_everybody_hears_of_it() {
    let broker = start(BrokerKind::Redis);
    let (exchange, reader) = (Process::join(BrokerKind::Redis, &broker), Process::join(BrokerKind::Redis, &broker));
    let subject: Subject = "rates.kraken.BTC_USD".parse().unwrap();
    exchange.rate(100);
    eventually("the value is kept", || broker.redis_command(&["EXISTS", LAST]) == "1").await;
    eventually("the reader has it", || reader.bus.last_value(&subject).is_some()).await;
    exchange.publisher.try_publish(Outgoing::new(subject.clone(), Payload::Gone)).unwrap();
    eventually("the value is gone", || broker.redis_command(&["EXISTS", LAST]) == "0").await;
    eventually("the reader has none", || reader.bus.last_value(&subject).is_none()).await;
    assert_eq!(broker.redis_command(&["ZCARD", "ratebus:subjects"]), "0");
    exchange.rate(101);
    eventually("the value is kept again", || broker.redis_command(&["EXISTS", LAST]) == "1").await;
    eventually("the reader has it again", || reader.bus.last_value(&subject).is_some()).await;
    for process in [exchange, reader] {
        process.stop().await;
    }
}

#[tokio::test]
async fn a_read_only_redis_tells_everybody_and_keeps_again_later() {
    let broker = start(BrokerKind::Redis);
    let exchange = Process::join(BrokerKind::Redis, &broker);
    exchange.rate(100);
    eventually("the value is kept", || broker.redis_command(&["EXISTS", LAST]) == "1").await;
    // Of a server that is not there.
    broker.redis_command(&["REPLICAOF", "127.0.0.1", "1"]);
    exchange.rate(101);
    // Who joins finds what cannot be removed either, and hears what is said.
    let reader = Process::join(BrokerKind::Redis, &broker);
    let mut rates = reader.subscribe("rates.>");
    while ask(&mut rates).await != 101 {}
    exchange.rate(102);
    assert_eq!(ask(&mut rates).await, 102);
    assert!(!broker.redis_command(&["GET", LAST]).contains(r#""ask":"102""#), "it is read-only");
    broker.redis_command(&["REPLICAOF", "NO", "ONE"]);
    exchange.rate(103);
    eventually("it is kept again", || broker.redis_command(&["GET", LAST]).contains(r#""ask":"103""#)).await;
    for process in [exchange, reader] {
        process.stop().await;
    }
}

#[tokio::test]
async fn what_others_write_under_our_keys_keeps_nobody_away() {
    for (command, value) in [("SET", "ratebus:subjects"), ("LPUSH", LAST)] {
        let broker = start(BrokerKind::Redis);
        broker.redis_command(&["ZADD", "ratebus:subjects", "9999999999999", "no subject"]);
        broker.redis_command(&[command, value, "something else"]);
        let (exchange, reader) = (Process::join(BrokerKind::Redis, &broker), Process::join(BrokerKind::Redis, &broker));
        exchange.rate(100);
        assert_eq!(ask(&mut reader.subscribe("rates.>")).await, 100);
        for process in [exchange, reader] {
            process.stop().await;
        }
    }
}
