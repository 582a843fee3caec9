use ratebus_bus::Policy;
use ratebus_model::Pattern;

use super::*;

fn replaying(bus: &Bus, pattern: &str) -> Subscription {
    bus.subscribe(Subscribe { policy: Policy::DropNewest, replay: true, ..named("test", pattern) })
}

#[tokio::test]
async fn the_last_value_is_kept_under_the_chosen_prefixes() {
    let bus = bus();
    let publisher = bus.publisher("p");
    for (subject, number) in [("rates.a.X", 1), ("rates.a.X", 2), ("rates.a.Y", 3), ("health.a", 4)] {
        publisher.try_publish(message(subject, number)).unwrap();
    }
    let last = |text| bus.last_value(&subject(text)).map(|message| number(&message));
    assert_eq!((last("rates.a.X"), last("rates.a.Z"), last("health.a")), (Some(2), None, None));
    let pattern: Pattern = "rates.>".parse().unwrap();
    let mut all: Vec<u64> = bus.last_values(&pattern).iter().map(|message| number(message)).collect();
    all.sort_unstable();
    assert_eq!(all, [2, 3]);
}

#[tokio::test]
async fn replay_comes_before_live_messages_and_only_if_asked_for() {
    let bus = bus();
    let publisher = bus.publisher("p");
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    publisher.try_publish(message("rates.b.X", 2)).unwrap();
    let mut replayed = replaying(&bus, "rates.a.*");
    let mut live = subscribe(&bus, "rates.a.*", Policy::DropNewest, 8);
    publisher.try_publish(message("rates.a.X", 3)).unwrap();
    assert_eq!((numbers(&mut replayed), numbers(&mut live)), (vec![1, 3], vec![3]));
}

#[tokio::test]
async fn replay_works_by_every_way_of_reading_and_beyond_the_capacity() {
    let bus = bus();
    let publisher = bus.publisher("p");
    for number in 0..5 {
        publisher.try_publish(message(&format!("rates.a.P{number}"), number)).unwrap();
    }
    let mut small = bus.subscribe(Subscribe { capacity: 1, replay: true, ..named("test", "rates.>") });
    let mut seen = vec![small.recv().await.unwrap(), small.try_recv().unwrap()];
    assert_eq!(small.recv_many(&mut seen, 2).await, 2);
    assert_eq!(small.recv_many(&mut seen, 2).await, 1);
    let mut seen: Vec<u64> = seen.iter().map(|message| number(message)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn values_past_the_maximal_age_are_not_handed_out() {
    let bus = Bus::new(BusConfig { last_value_max_age: Some(Duration::from_secs(10)), ..BusConfig::default() });
    let publisher = bus.publisher("p");
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    publisher.try_publish(message("rates.a.Y", 2)).unwrap();
    assert!(bus.last_value(&subject("rates.a.X")).is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(bus.last_value(&subject("rates.a.X")).is_none());
    assert_eq!(numbers(&mut replaying(&bus, "rates.>")), [2]);
}

#[tokio::test]
async fn no_more_values_are_kept_than_allowed() {
    let bus = Bus::new(BusConfig { max_last_values: 2, ..BusConfig::default() });
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::DropNewest, 8);
    for number in 0..4 {
        publisher.try_publish(message(&format!("rates.a.P{number}"), number)).unwrap();
    }
    publisher.try_publish(message("rates.a.P0", 4)).unwrap();
    assert_eq!(numbers(&mut all), [0, 1, 2, 3, 4]);
    let kept = |text| bus.last_value(&subject(text)).map(|message| number(&message));
    assert_eq!(["rates.a.P0", "rates.a.P1", "rates.a.P2", "rates.a.P3"].map(kept), [Some(4), Some(1), None, None]);
}
