use ratebus_bus::Policy;

use super::*;

fn member(bus: &Bus, group: &str, capacity: usize) -> Subscription {
    let subscribe = Subscribe { policy: Policy::DropNewest, capacity, ..named("member", "x.>") };
    bus.subscribe(Subscribe { queue: Some(group.into()), ..subscribe })
}

#[tokio::test]
async fn one_member_of_each_group_has_each_message() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut first: Vec<_> = (0..3).map(|_| member(&bus, "first", 100)).collect();
    let mut second: Vec<_> = (0..2).map(|_| member(&bus, "second", 100)).collect();
    let mut alone = subscribe(&bus, "x.*", Policy::DropNewest, 100);
    for number in 0..60 {
        assert_eq!(publisher.try_publish(message("x.y", number)), Ok(3));
    }
    for group in [&mut first, &mut second] {
        let shares: Vec<Vec<u64>> = group.iter_mut().map(numbers).collect();
        assert!(shares.iter().all(|share| share.len() == 60 / shares.len() && share.is_sorted()), "{shares:?}");
        let mut all = shares.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..60));
    }
    assert_eq!(numbers(&mut alone).len(), 60);
}

#[tokio::test]
async fn full_members_are_passed_over_while_another_has_room() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut small = member(&bus, "group", 1);
    let mut large = member(&bus, "group", 9);
    for number in 0..10 {
        publisher.try_publish(message("x.y", number)).unwrap();
    }
    assert_eq!((numbers(&mut small).len(), numbers(&mut large).len()), (1, 9));
    assert_eq!((small.stats().dropped, large.stats().dropped), (0, 0));
}

#[tokio::test]
async fn members_that_left_get_nothing() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let gone = member(&bus, "group", 9);
    let mut stays = member(&bus, "group", 9);
    publisher.try_publish(message("x.y", 0)).unwrap();
    drop(gone);
    stays.try_recv();
    for number in 0..9 {
        assert_eq!(publisher.try_publish(message("x.y", number)), Ok(1));
    }
    assert!(numbers(&mut stays).into_iter().eq(0..9));
}
