use std::{future::Future, pin::pin, task::Poll, time::Duration};

use ratebus_bus::{Policy, PublishError, Stats};
use tokio::time::{Instant, timeout};

use super::*;

#[tokio::test]
async fn conflate_keeps_the_newest_value_in_the_subjects_place() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, "a.*", Policy::Conflate, 2);
    for (subject, number) in [("a.x", 1), ("a.y", 2), ("a.x", 3), ("a.x", 4)] {
        assert_eq!(publisher.try_publish(message(subject, number)), Ok(1));
    }
    assert_eq!(all.stats(), Stats { accepted: 4, conflated: 2, pending: 2, ..Stats::default() });
    assert_eq!(numbers(&mut all), [4, 2]);
    assert!(all.try_recv().is_none());
}

#[tokio::test]
async fn conflate_lets_the_oldest_subject_go_beyond_its_capacity() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::Conflate, 2);
    for (subject, number) in [("x", 1), ("y", 2), ("z", 3), ("y", 4), ("x", 5)] {
        publisher.try_publish(message(subject, number)).unwrap();
    }
    assert_eq!(all.stats(), Stats { accepted: 5, conflated: 1, dropped: 2, pending: 2, ..Stats::default() });
    assert_eq!(numbers(&mut all), [3, 5]);
}

#[tokio::test]
async fn conflation_starts_anew_when_a_value_was_read() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::Conflate, 8);
    for (subject, number) in [("x", 1), ("y", 2)] {
        publisher.try_publish(message(subject, number)).unwrap();
    }
    assert_eq!(all.recv().await.map(|first| number(&first)), Some(1));
    publisher.try_publish(message("x", 3)).unwrap();
    publisher.try_publish(message("y", 4)).unwrap();
    tokio::task::yield_now().await;
    let mut batch = Vec::new();
    assert_eq!(all.recv_many(&mut batch, 8).await, 2);
    assert_eq!(batch.iter().map(|message| number(message)).collect::<Vec<_>>(), [4, 3]);
    publisher.try_publish(message("y", 5)).unwrap();
    assert_eq!(numbers(&mut all), [5]);
}

#[tokio::test]
async fn drop_oldest_and_drop_newest() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut oldest = subscribe(&bus, ">", Policy::DropOldest, 2);
    let mut newest = subscribe(&bus, ">", Policy::DropNewest, 2);
    for number in 1..=4 {
        assert_eq!(publisher.try_publish(message("x", number)), Ok(2));
    }
    assert_eq!((oldest.stats().dropped, newest.stats().dropped), (2, 2));
    assert_eq!((numbers(&mut oldest), numbers(&mut newest)), (vec![3, 4], vec![1, 2]));
}

#[tokio::test]
async fn disconnect_closes_when_full_and_leaves_what_is_there() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut subscription = subscribe(&bus, ">", Policy::Disconnect, 2);
    for number in 1..=2 {
        assert_eq!(publisher.try_publish(message("x", number)), Ok(1));
    }
    publisher.try_publish(message("x", 3)).unwrap();
    assert_eq!(
        subscription.stats(),
        Stats { accepted: 2, dropped: 1, disconnected: true, pending: 2, ..Stats::default() }
    );
    assert_eq!(publisher.try_publish(message("x", 4)), Ok(0));
    assert_eq!(subscription.recv().await.map(|message| number(&message)), Some(1));
    assert_eq!(subscription.recv().await.map(|message| number(&message)), Some(2));
    assert!(subscription.recv().await.is_none());
}

#[tokio::test]
async fn try_publish_names_the_full_subscription_and_serves_the_others() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut blocks = bus.subscribe(Subscribe { policy: BLOCK, capacity: 1, ..named("store", ">") });
    let mut other = subscribe(&bus, "x", Policy::DropNewest, 9);
    assert_eq!(publisher.try_publish(message("x", 1)), Ok(2));
    let full = publisher.try_publish(message("x", 2));
    assert_eq!(full, Err(PublishError::Full { subscription: "store".into(), delivered: 1 }));
    assert_eq!(blocks.stats().dropped, 1);
    assert_eq!((numbers(&mut blocks), numbers(&mut other)), (vec![1], vec![1, 2]));
}

#[tokio::test]
async fn publish_waits_for_room_while_others_are_served() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut blocks = subscribe(&bus, ">", BLOCK, 1);
    let mut other = subscribe(&bus, ">", Policy::DropNewest, 9);
    publisher.publish(message("x", 1)).await.unwrap();

    let mut second = pin!(publisher.publish(message("x", 2)));
    let mut third = pin!(publisher.publish(message("x", 3)));
    assert!(is_pending(&mut second).await && is_pending(&mut third).await);
    assert_eq!(numbers(&mut other), [1, 2, 3]);
    // Those in line are not overtaken, not even by the impatient.
    assert!(publisher.try_publish(message("x", 4)).is_err());

    assert_eq!(blocks.recv().await.map(|message| number(&message)), Some(1));
    assert_eq!(second.await, Ok(2));
    assert!(is_pending(&mut third).await);
    assert_eq!(blocks.recv().await.map(|message| number(&message)), Some(2));
    assert_eq!(third.await, Ok(2));
    assert_eq!(numbers(&mut blocks), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_block_subscription_without_room_goes_without_after_its_timeout() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let limit = Duration::from_millis(250);
    let mut blocks = subscribe(&bus, ">", Policy::Block { timeout: limit }, 1);
    publisher.publish(message("x", 1)).await.unwrap();
    let started = Instant::now();
    let full = publisher.publish(message("x", 2)).await;
    assert_eq!(full, Err(PublishError::Full { subscription: "test".into(), delivered: 0 }));
    assert_eq!(started.elapsed().as_millis(), limit.as_millis());
    assert_eq!(blocks.stats(), Stats { accepted: 1, dropped: 1, pending: 1, ..Stats::default() });
    assert_eq!(numbers(&mut blocks), [1]);
    assert_eq!(publisher.publish(message("x", 3)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn each_full_subscription_is_waited_for_as_long_as_it_allows() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let subscriptions =
        [3, 1, 2].map(|seconds| subscribe(&bus, ">", Policy::Block { timeout: Duration::from_secs(seconds) }, 1));
    publisher.publish(message("x", 1)).await.unwrap();
    let watch = async {
        for dropped in [[0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]] {
            tokio::time::sleep(Duration::from_millis(900)).await;
            assert_eq!(subscriptions.each_ref().map(|subscription| subscription.stats().dropped), dropped);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (full, ()) = tokio::join!(publisher.publish(message("x", 2)), watch);
    assert!(matches!(full, Err(PublishError::Full { delivered: 0, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_publish_takes_its_message_back() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut blocks = subscribe(&bus, ">", BLOCK, 1);
    publisher.publish(message("x", 1)).await.unwrap();
    timeout(Duration::from_millis(1), publisher.publish(message("x", 2))).await.unwrap_err();
    assert_eq!(numbers(&mut blocks), [1]);
    assert_eq!(blocks.stats().dropped, 1);
}

#[tokio::test]
async fn a_waiting_publisher_goes_on_when_the_reader_leaves() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let blocks = subscribe(&bus, ">", BLOCK, 1);
    publisher.publish(message("x", 1)).await.unwrap();
    let mut second = pin!(publisher.publish(message("x", 2)));
    assert!(is_pending(&mut second).await);
    drop(blocks);
    assert_eq!(second.await, Ok(0));
}

#[tokio::test]
async fn a_dropped_recv_loses_nothing() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::DropNewest, 8);
    assert!(is_pending(&mut pin!(all.recv())).await);
    publisher.try_publish(message("x", 1)).unwrap();
    assert_eq!(all.recv().await.map(|message| number(&message)), Some(1));
}

#[tokio::test]
async fn a_batch_is_what_is_pending_up_to_its_maximum() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::DropNewest, 8);
    for number in 1..=5 {
        publisher.try_publish(message("x", number)).unwrap();
    }
    let mut batch = Vec::new();
    assert_eq!(all.recv_many(&mut batch, 0).await, 0);
    assert_eq!(all.recv_many(&mut batch, 3).await, 3);
    assert_eq!(all.recv_many(&mut batch, 3).await, 2);
    assert_eq!(batch.iter().map(|message| number(message)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    drop((bus, publisher));
    assert_eq!(all.recv_many(&mut batch, 3).await, 0);
}

#[tokio::test]
async fn subscriptions_end_with_the_bus_once_all_is_read() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut all = subscribe(&bus, ">", Policy::DropNewest, 8);
    publisher.try_publish(message("x", 1)).unwrap();
    bus.close();
    assert_eq!(publisher.try_publish(message("x", 2)), Err(PublishError::Closed));
    assert_eq!(publisher.publish(message("y", 2)).await, Err(PublishError::Closed));
    assert_eq!(all.recv().await.map(|message| number(&message)), Some(1));
    assert!(all.recv().await.is_none());
    assert!(subscribe(&bus, ">", Policy::Conflate, 8).recv().await.is_none());
}

#[tokio::test]
async fn versions_count_per_subject_within_the_publishers_epoch() {
    let bus = bus();
    let (first, second) = (bus.publisher("p"), bus.publisher("p"));
    assert_ne!(first.epoch(), second.epoch());
    let mut all = subscribe(&bus, ">", Policy::DropNewest, 8);
    for (publisher, subject) in [(&first, "x"), (&first, "y"), (&second, "x"), (&first.clone(), "x")] {
        publisher.try_publish(message(subject, 0)).unwrap();
    }
    let versions: Vec<_> = pending(&mut all).iter().map(|message| message.version).collect();
    let expected = [(&first, 1), (&first, 1), (&second, 1), (&first, 2)];
    assert_eq!(
        versions,
        expected.map(|(publisher, sequence)| ratebus_model::Version { epoch: publisher.epoch(), sequence })
    );
}

#[tokio::test(start_paused = true)]
async fn drops_are_reported_once_a_second_and_conflation_is_not() {
    let bus = Bus::new(BusConfig { slow_subject: Some(subject("$SYS.slow.here")), ..BusConfig::default() });
    let publisher = bus.publisher("p");
    let mut reports = subscribe(&bus, "$SYS.>", Policy::DropNewest, 64);
    let _slow = bus.subscribe(Subscribe { policy: Policy::DropOldest, capacity: 1, ..named("slow", "x") });
    let _conflates = bus.subscribe(Subscribe { capacity: 1, ..named("conflates", "x") });
    for _ in 0..30 {
        publisher.try_publish(message("x", 0)).unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let texts: Vec<_> = pending(&mut reports)
        .into_iter()
        .map(|report| match &report.payload {
            Payload::Bytes(json) => String::from_utf8(json.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let report = |accepted: u64, dropped: u64| {
        format!(
            r#"{{"subscription":"slow","pattern":"x","accepted":{accepted},"conflated":0,"dropped":{dropped},"disconnected":false}}"#
        )
    };
    assert_eq!(texts, [report(2, 1), report(12, 11), report(22, 21)]);
}

#[tokio::test]
async fn a_slow_reader_of_the_reports_does_not_make_reports_of_reports_without_end() {
    let bus = Bus::new(BusConfig { slow_subject: Some(subject("$SYS.slow.here")), ..BusConfig::default() });
    let publisher = bus.publisher("p");
    let reports = subscribe(&bus, "$SYS.>", Policy::DropOldest, 1);
    let slow: Vec<_> = (0..3).map(|_| subscribe(&bus, "x", Policy::DropOldest, 1)).collect();
    for _ in 0..3 {
        publisher.try_publish(message("x", 0)).unwrap();
    }
    assert!(slow.iter().all(|slow| slow.stats().dropped == 2));
    // Three reports of the slow, and one of what their reader lost meanwhile.
    assert_eq!(reports.stats(), Stats { accepted: 4, dropped: 3, pending: 1, ..Stats::default() });
}

async fn is_pending<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
