use ratebus_model::{Epoch, Timestamp, Version};

use super::*;

/// A message that says `number`, as a publisher elsewhere published it.
fn foreign(subject: &str, number: u64) -> Message {
    let Outgoing { subject, reply, headers, payload } = message(subject, number);
    let version = Version { epoch: Epoch::new(7), sequence: number };
    Message { subject, reply, headers, payload, version, published_at: Timestamp::from_millis(5) }
}

#[tokio::test]
async fn an_imported_message_is_delivered_as_it_is() {
    let bus = bus();
    let publisher = bus.publisher("p");
    let mut reader = subscribe(&bus, "rates.>", Policy::DropNewest, 8);
    publisher.try_publish(message("rates.a.X", 1)).unwrap();
    assert_eq!(bus.import(foreign("rates.a.X", 40)), Ok(1));
    publisher.try_publish(message("rates.a.X", 2)).unwrap();
    assert_eq!(bus.import(foreign("rates.a.X", 50)), Ok(1));
    let got = pending(&mut reader);
    assert_eq!(got.iter().map(|message| message.version.sequence).collect::<Vec<_>>(), [1, 40, 2, 50]);
    assert_eq!((got[1].version.epoch, got[1].published_at), (Epoch::new(7), Timestamp::from_millis(5)));
    let last = bus.last_value(&subject("rates.a.X")).unwrap();
    assert_eq!((number(&last), last.version.epoch), (50, Epoch::new(7)));
    bus.close();
    assert!(bus.import(foreign("rates.a.X", 60)).is_err());
}

#[tokio::test]
async fn an_imported_answer_reaches_its_request() {
    let bus = bus();
    let client = bus.publisher("client");
    let mut requests = subscribe(&bus, "rates.get", Policy::DropNewest, 8);
    let answered = async {
        let request = requests.recv().await.unwrap();
        bus.import(foreign(request.reply.clone().unwrap().as_str(), 10)).unwrap();
    };
    let (answer, ()) = tokio::join!(client.request(message("rates.get", 1), Duration::from_secs(2)), answered);
    assert_eq!(number(&answer.unwrap()), 10);
}
