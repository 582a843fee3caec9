//! What goes out.

use std::{path::Path, process::Stdio};

use ratebus_model::{Customer, Epoch, Quote, Sides, Status, Timestamp, Version, Withheld};
use ratebus_sdk::HealthState;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::*;

#[tokio::test]
async fn a_rate_is_the_object_of_the_api_with_its_version_and_type() {
    let broker = start(BrokerOptions::default());
    let mut listener = Listener::to(&broker, "*").await;
    let publisher = start_publisher(&broker.url(), &json!({}));
    let mut book = book(&publisher, Limits::STREAM);
    tick(&mut book, "BTC_USD", "81413.20", "81413.3");
    let (channel, mut document) = listener.next().await;
    assert_eq!(channel, "rates:latest");
    let rate = publisher.host.rate("kraken", pair("BTC_USD")).unwrap();
    let confirmed = document.as_object_mut().unwrap().remove("confirmedTime").unwrap();
    let confirmed: Timestamp = confirmed.as_str().unwrap().parse().unwrap();
    assert!(confirmed.age_at(rate.recv_time) < Duration::from_secs(1), "{confirmed} {}", rate.recv_time);
    let api = with(serde_json::to_value(rate.view(Status::Fresh)).unwrap(), &json!({"v": 1, "type": "rate"}));
    assert_eq!(document, api);
    assert_eq!(document["original"], json!({"buy": "81413.3", "sell": "81413.20"}));
    publisher.until_counted(&["ratebus_redis_published_total", "publisher"], 1).await;
    publisher.stop().await;
}

#[tokio::test]
async fn a_quote_goes_where_its_names_say() {
    let broker = start(BrokerOptions::default());
    let mut listener = Listener::to(&broker, "*").await;
    let places = json!({"from": "quotes", "channel": "{source}/{kind}/{pair}", "hash": "quotes", "key": "quote:{pair}",
        "key_ttl": "9s"});
    let publisher = start_publisher(&broker.url(), &places);
    let quote = quote();
    let api = serde_json::to_value(quote.view(Status::Fresh)).unwrap();
    publisher.ctx.try_publish(&Subject::quote(quote.pair), quote).unwrap();
    let (channel, document) = listener.next().await;
    assert_eq!(channel, "kraken/two_sided/BTC_USD");
    for (member, value) in api.as_object().unwrap() {
        assert_eq!(document[member], *value, "{member}");
    }
    assert_eq!((&document["v"], &document["type"]), (&json!(1), &json!("quote")));
    assert_eq!(document["customer"], json!({"buy": "110.00", "sell": "90.00"}));
    // It is kept before it is told.
    for kept in [broker.redis_command(&["HGET", "quotes", "BTC_USD"]), broker.redis_command(&["GET", "quote:BTC_USD"])]
    {
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap()["customer"], document["customer"]);
    }
    let ttl: u64 = broker.redis_command(&["TTL", "quote:BTC_USD"]).parse().unwrap();
    assert!((1..=9).contains(&ttl), "{ttl}");
    publisher.stop().await;
}

/// A quote of BTC with a spread of ten.
fn quote() -> Quote {
    let price = |text: &str| text.parse().unwrap();
    let (original, now) = (Sides { buy: price("100.0"), sell: price("100.0") }, Clock.arrival());
    let customer = Customer::over(original, Sides { buy: price("110.00"), sell: price("90.00") });
    Quote {
        pair: pair("BTC_USD"),
        source: "kraken".parse().unwrap(),
        sources: ["kraken".parse().unwrap()].into(),
        kind: ratebus_model::RateKind::TwoSided,
        bid: original.sell,
        ask: original.buy,
        original,
        customer: customer.ok_or(Withheld::NoSpread),
        rule: None,
        step: price("0.01"),
        market: ratebus_model::Market::Online,
        published_status: Status::Fresh,
        event_time: None,
        recv_time: now.time,
        published_time: now.time,
        confirmed_at: now.at,
        limits: Limits::STREAM,
        version: Version::first(Epoch::new(7)),
    }
}

#[tokio::test]
async fn a_silent_feed_becomes_stale_and_then_dead_without_prices() {
    let broker = start(BrokerOptions::default());
    let mut listener = Listener::to(&broker, "*").await;
    let publisher = start_publisher(&broker.url(), &json!({"hash": "rates:latest"}));
    publisher.until_ready().await;
    tick(&mut book(&publisher, SHORT), "BTC_USD", "1", "2");
    let mut confirmed = Vec::new();
    for status in ["fresh", "stale", "dead"] {
        let (_, document) = listener.next().await;
        assert_eq!(document["status"], status, "{document}");
        assert_eq!(document["original"].is_null(), status == "dead");
        confirmed.push(document["confirmedTime"].as_str().unwrap().parse().unwrap());
    }
    let late: Vec<Duration> = confirmed.iter().map(|time: &Timestamp| confirmed[0].age_at(*time)).collect();
    assert!(late.iter().all(|&late| late < SHORT.stale_after), "nobody vouched for it again: {late:?}");
    let kept: Value = serde_json::from_str(&broker.redis_command(&["HGET", "rates:latest", "BTC_USD"])).unwrap();
    assert_eq!(kept["status"], "dead");
    publisher.stop().await;
}

#[tokio::test]
async fn a_pair_that_is_served_no_more_is_dead_once_and_kept_nowhere() {
    let broker = start(BrokerOptions::default());
    let mut listener = Listener::to(&broker, "*").await;
    let publisher = start_publisher(&broker.url(), &json!({"from": "quotes", "hash": "quotes", "key": "quote:{pair}"}));
    let subject = Subject::quote(quote().pair);
    publisher.ctx.try_publish(&subject, quote()).unwrap();
    assert_eq!(listener.next().await.1["status"], "fresh");
    publisher.ctx.try_publish(&subject, Payload::Gone).unwrap();
    let (_, last) = loop {
        let next = listener.next().await;
        if next.1["status"] != "fresh" {
            break next;
        }
    };
    assert_eq!((&last["status"], &last["withheld"]), (&json!("dead"), &json!("not_served")), "{last}");
    assert_eq!((&last["original"], &last["sequence"]), (&json!(null), &json!(2)));
    assert_eq!(broker.redis_command(&["EXISTS", "quotes", "quote:BTC_USD"]), "0");
    publisher.stop().await;
}

#[tokio::test]
async fn after_an_outage_the_newest_values_go_out_and_nothing_else() {
    let broker = start(BrokerOptions::default());
    let publisher = start_publisher(&broker.url(), &json!({"hash": "rates:latest"}));
    let (stale_after, dead_after) = (Duration::from_hours(1), Duration::from_hours(2));
    let mut book = book(&publisher, Limits { stale_after, dead_after });
    tick(&mut book, "BTC_USD", "100", "101");
    tick(&mut book, "ETH_USD", "10", "11");
    publisher.until_counted(&["ratebus_redis_published_total"], 2).await;
    broker.kill();
    publisher.until_health("nothing is published: ").await;
    publisher.until_counted(&["ratebus_redis_failures_total", "connect"], 1).await;
    assert!(publisher.ctx.health().state().is_ready(), "the process stays ready");
    for price in 102..110 {
        tick(&mut book, "BTC_USD", &price.to_string(), "120");
    }
    broker.restart();
    publisher.until_ready().await;
    // What Redis lost is there again, the pair that did not change too.
    let kept = |pair: &str| broker.redis_command(&["HGET", "rates:latest", pair]);
    eventually("both are kept again", DEADLINE, || !kept("BTC_USD").is_empty() && !kept("ETH_USD").is_empty()).await;
    assert!(kept("BTC_USD").contains(r#""sell":"109""#) && kept("ETH_USD").contains(r#""sell":"10""#));
    publisher.until_counted(&["ratebus_redis_published_total"], 4).await;
    assert!(!publisher.counted(&["ratebus_redis_published_total"], 5), "each is sent once");
    publisher.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_a_second() {
    let broker = start(BrokerOptions::default());
    let publisher = start_publisher(&broker.url(), &json!({}));
    publisher.until_ready().await;
    broker.signal("STOP");
    tick(&mut book(&publisher, Limits::STREAM), "BTC_USD", "1", "2");
    publisher.until_counted(&["ratebus_redis_failures_total", "stalled"], 1).await;
    publisher.until_health("nothing is published").await;
    broker.signal("CONT");
    publisher.until_ready().await;
    publisher.until_counted(&["ratebus_redis_published_total"], 1).await;
    publisher.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let broker = start(BrokerOptions { password: Some("right-one"), tls: false });
    let publisher = start_publisher(&broker.url_with(Some("wrong-one")), &json!({}));
    publisher.until_counted(&["ratebus_redis_failures_total", "auth"], 2).await;
    let HealthState::Degraded(reason) = publisher.ctx.health().state() else { panic!("it is not degraded") };
    assert!(!reason.contains("wrong-one") && !reason.contains("127.0.0.1"), "{reason}");
    publisher.stop().await;
    let publisher = start_publisher(&broker.url(), &json!({}));
    publisher.until_ready().await;
    publisher.stop().await;
}

#[tokio::test]
async fn what_redis_refuses_to_keep_is_told_all_the_same() {
    let broker = start(BrokerOptions::default());
    let mut listener = Listener::to(&broker, "*").await;
    let publisher = start_publisher(&broker.url(), &json!({"hash": "rates:latest"}));
    publisher.until_ready().await;
    let mut book = book(&publisher, Limits::STREAM);
    let faults: [(&[&str], &[&str]); 3] = [
        (&["SET", "rates:latest", "no hash"], &["DEL", "rates:latest"]),
        (&["CONFIG", "SET", "maxmemory", "1mb"], &["CONFIG", "SET", "maxmemory", "0"]),
        // Of a server that is not there.
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ];
    for (number, (fault, mended)) in (1..).zip(faults) {
        broker.redis_command(fault);
        let ask = format!("10{number}.5");
        tick(&mut book, "BTC_USD", "100", &ask);
        while listener.next().await.1["original"]["buy"] != ask.as_str() {}
        publisher.until_health("Redis refuses what is published: ").await;
        publisher.until_counted(&["ratebus_redis_failures_total", "refused"], number).await;
        broker.redis_command(mended);
        tick(&mut book, "BTC_USD", "100", &format!("10{number}.6"));
        publisher.until_ready().await;
    }
    publisher.stop().await;
}

#[tokio::test]
async fn a_program_in_another_language_reads_the_channel() {
    let broker = start(BrokerOptions { password: Some("p@ss/word"), tls: false });
    let url = broker.url();
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "p@ss/word\n").unwrap();
    let publisher = start_publisher(&broker.url_with(None), &json!({"password_file": password.path()}));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/redis_consumer.py");
    let mut command = Command::new("python3");
    command.arg(example).args([&url, "rates:latest", "3"]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut consumer = command.spawn().unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    let mut line = async || timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(line().await, "listening to rates:latest");
    publisher.until_ready().await;
    tick(&mut book(&publisher, SHORT), "BTC_USD", "81413.20", "81413.3000");
    assert_eq!(line().await, "BTC_USD buy 81413.3000 sell 81413.20 (fresh, kraken)");
    assert_eq!(line().await, "BTC_USD buy 81413.3000 sell 81413.20 (stale, kraken)");
    assert_eq!(line().await, "BTC_USD has no price at the moment");
    assert!(timeout(DEADLINE, consumer.wait()).await.unwrap().unwrap().success());
    publisher.stop().await;
}

#[tokio::test]
async fn it_stops_with_its_inbox() {
    let broker = start(BrokerOptions::default());
    let publisher = start_publisher(&broker.url(), &json!({}));
    publisher.until_ready().await;
    publisher.host.close_inboxes();
    timeout(DEADLINE, publisher.task).await.unwrap().unwrap().unwrap();
}
