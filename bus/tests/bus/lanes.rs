use ratebus_bus::Policy;
use tokio::runtime::Runtime;

use super::*;

#[tokio::test]
async fn a_reader_that_leaves_takes_no_other_readers_messages() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let gone = subscribe(&bus, "a", Policy::DropNewest, 8);
    let mut stays = subscribe(&bus, "b", Policy::DropNewest, 8);
    for (subject, number) in [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5), ("b", 6)] {
        publisher.try_publish(message(subject, number)).unwrap();
    }
    drop(gone);
    let mut batch = Vec::new();
    assert_eq!(stays.recv_many(&mut batch, 8).await, 3);
    assert_eq!(batch.iter().map(|message| number(message)).collect::<Vec<_>>(), [2, 5, 6]);
}

#[test]
fn messages_arrive_without_the_runtime_that_subscribed() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut outside = subscribe(&bus, ">", Policy::DropNewest, 8);
    let ended = Runtime::new().unwrap();
    let mut inside = ended.block_on(async { subscribe(&bus, ">", Policy::DropNewest, 8) });
    publisher.try_publish(message("x", 1)).unwrap();
    drop(ended);
    publisher.try_publish(message("x", 2)).unwrap();
    let read = async |subscription: &mut Subscription| {
        [subscription.recv().await, subscription.recv().await].map(|message| message.map(|message| number(&message)))
    };
    let reading = Runtime::new().unwrap();
    assert_eq!(reading.block_on(read(&mut outside)), [Some(1), Some(2)]);
    assert_eq!(reading.block_on(read(&mut inside)), [Some(1), Some(2)]);
}

/// More is published than a lane holds before its relay gets a turn.
#[tokio::test]
async fn a_publisher_that_never_yields_is_served_in_order() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut readers = [(); 2].map(|()| subscribe(&bus, ">", Policy::DropNewest, 10_000));
    for number in 0..5_000 {
        publisher.try_publish(message("x", number)).unwrap();
    }
    for reader in &mut readers {
        assert!(numbers(reader).into_iter().eq(0..5_000));
    }
}
