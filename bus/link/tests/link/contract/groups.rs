//! Of each queue group one member has each message, whichever process it is in.

use super::*;

/// What each member heard until all of them heard the end.
async fn shares(publisher: &Process, subject: &str, members: &mut [Subscription]) -> Vec<Vec<u64>> {
    let mut shares: Vec<Vec<u64>> = vec![Vec::new(); members.len()];
    let mut ended = vec![false; members.len()];
    eventually("all members to hear the end", || {
        publisher.say(subject, END);
        for ((member, share), ended) in members.iter_mut().zip(&mut shares).zip(&mut ended) {
            for heard in std::iter::from_fn(|| member.try_recv()).map(|message| number(&message)) {
                *ended |= heard == END;
                share.extend((FIRST..END).contains(&heard).then_some(heard));
            }
        }
        ended.iter().all(|ended| *ended)
    })
    .await;
    shares
}

fn assert_all_once(shares: &[Vec<u64>], count: u64) {
    let mut all = shares.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(FIRST..FIRST + count), "{shares:?}");
    assert!(shares.iter().all(|share| share.is_sorted()), "{shares:?}");
}

pub(super) async fn one_member_of_each_group_has_each_message(backend: impl Backend) {
    const COUNT: u64 = 120;
    let processes = [backend.join().await, backend.join().await, backend.join().await];
    let [one, two, three] = &processes;
    let mut first = [two.member("events.>", "first"), three.member("events.x", "first"), three.member("*.x", "first")];
    let mut second = [two.member("events.x", "second")];
    let mut alone = three.reader("events.x");
    all_served(one, "events.x", &mut first).await;
    all_served(one, "events.x", &mut second).await;
    for number in FIRST..FIRST + COUNT {
        one.say("events.x", number);
    }
    for members in [&mut first[..], &mut second] {
        let shares = shares(one, "events.x", members).await;
        assert_all_once(&shares, COUNT);
        assert!(shares.iter().all(|share| share.len() as u64 >= COUNT / 4), "each process has its share: {shares:?}");
    }
    assert!(until_end(&mut alone).await.into_iter().eq(FIRST..FIRST + COUNT));
    stop(processes).await;
}

pub(super) async fn members_share_what_says_how_something_is(backend: impl Backend) {
    const COUNT: u64 = 60;
    let processes = [backend.join().await, backend.join().await, backend.join().await];
    let [one, two, three] = &processes;
    let mut members = [two.member("rates.>", "group"), three.member("rates.*.X", "group")];
    all_served(one, "rates.a.X", &mut members).await;
    for number in FIRST..FIRST + COUNT {
        one.say("rates.a.X", number);
    }
    assert_all_once(&shares(one, "rates.a.X", &mut members).await, COUNT);
    stop(processes).await;
}

pub(super) async fn who_publishes_in_turn_is_served_in_turn(backend: impl Backend) {
    const COUNT: u64 = 100;
    let processes = [backend.join().await, backend.join().await, backend.join().await];
    let [one, two, three] = &processes;
    let mut members = [three.member("events.>", "group")];
    for process in [one, two] {
        all_served(process, "events.x", &mut members).await;
    }
    let mut expected = Vec::new();
    for number in FIRST..FIRST + COUNT {
        [one, two][(number % 2) as usize].say("events.x", number);
        expected.push(number);
    }
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        heard.extend(Some(next(&mut members[0]).await).map(|message| number(&message)).filter(|&heard| heard >= FIRST));
    }
    for parity in 0..2 {
        assert!(heard.iter().filter(|number| *number % 2 == parity).is_sorted(), "{heard:?}");
    }
    heard.sort_unstable();
    assert_eq!(heard, expected);
    stop(processes).await;
}

pub(super) async fn a_member_that_left_has_nothing_and_the_others_everything(backend: impl Backend) {
    const COUNT: u64 = 50;
    let (one, two, three) = (backend.join().await, backend.join().await, backend.join().await);
    let mut members = [two.member("events.>", "group"), three.member("events.>", "group")];
    all_served(&one, "events.x", &mut members).await;
    let [gone, stays] = members;
    drop(gone);
    let mut stays = [stays];
    // Until it is known, what was meant for the one that left is lost.
    let (mut row, mut number) = (0, 0);
    while row < 10 {
        number += 1;
        one.say("events.x", number);
        let heard = timeout(Duration::from_millis(50), stays[0].recv()).await;
        row = if heard.is_ok() { row + 1 } else { 0 };
    }
    for number in FIRST..FIRST + COUNT {
        one.say("events.x", number);
    }
    assert_all_once(&shares(&one, "events.x", &mut stays).await, COUNT);
    stop([one, two, three]).await;
}
