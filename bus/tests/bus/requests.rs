use ratebus_bus::{Elsewhere, Policy, RequestError};
use tokio::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_answer_goes_to_the_request_it_answers() {
    let bus = bus();
    let (client, responder) = (bus.publisher("client"), bus.publisher("responder"));
    let mut requests = subscribe(&bus, "rates.get", Policy::DropNewest, 8);
    let mut all_answers = subscribe(&bus, "_INBOX.>", Policy::DropNewest, 8);
    let served = tokio::spawn(async move {
        // Answers in the opposite order.
        let asked = [requests.recv().await.unwrap(), requests.recv().await.unwrap()];
        for request in asked.iter().rev() {
            let answer = Payload::Bytes((number(request) * 10).to_string().into());
            assert_eq!(responder.try_publish(Outgoing::new(request.reply.clone().unwrap(), answer)), Ok(2));
        }
    });
    let (one, two) =
        tokio::join!(client.request(message("rates.get", 1), LIMIT), client.request(message("rates.get", 2), LIMIT));
    assert_eq!((number(&one.unwrap()), number(&two.unwrap())), (10, 20));
    served.await.unwrap();
    assert_eq!(numbers(&mut all_answers), [20, 10]);
}

#[tokio::test(start_paused = true)]
async fn without_a_responder_the_error_comes_at_once() {
    let client = bus().publisher("client");
    let started = Instant::now();
    assert_eq!(client.request(message("rates.get", 1), LIMIT).await.unwrap_err(), RequestError::NoResponders);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

/// Other processes, of which one may listen.
#[derive(Debug)]
struct Others(&'static str);

impl Elsewhere for Others {
    fn listens(&self, subject: &Subject) -> bool {
        subject.as_str() == self.0
    }
}

#[tokio::test(start_paused = true)]
async fn who_listens_elsewhere_is_waited_for() {
    let bus = bus();
    bus.join(Arc::new(Others("rates.get")));
    let client = bus.publisher("client");
    assert_eq!(client.request(message("rates.get", 1), LIMIT).await.unwrap_err(), RequestError::TimedOut);
    assert_eq!(client.request(message("rates.put", 1), LIMIT).await.unwrap_err(), RequestError::NoResponders);
}

#[tokio::test(start_paused = true)]
async fn a_silent_responder_is_waited_for_until_the_limit() {
    let bus = bus();
    let client = bus.publisher("client");
    let mut requests = subscribe(&bus, "rates.get", Policy::DropNewest, 8);
    let started = Instant::now();
    assert_eq!(client.request(message("rates.get", 1), LIMIT).await.unwrap_err(), RequestError::TimedOut);
    assert_eq!(started.elapsed().as_millis(), LIMIT.as_millis());

    let late = requests.try_recv().unwrap().reply.clone().unwrap();
    assert_eq!(client.try_publish(Outgoing::new(late, Payload::Bytes("1".into()))), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_a_full_responder_too() {
    let bus = bus();
    let client = bus.publisher("client");
    let _full = subscribe(&bus, "rates.get", BLOCK, 1);
    client.try_publish(message("rates.get", 0)).unwrap();
    let started = Instant::now();
    assert_eq!(client.request(message("rates.get", 1), LIMIT).await.unwrap_err(), RequestError::TimedOut);
    assert_eq!(started.elapsed().as_millis(), LIMIT.as_millis());
}

#[tokio::test]
async fn closing_the_bus_ends_requests() {
    let bus = bus();
    let client = bus.publisher("client");
    let _silent = subscribe(&bus, "rates.get", Policy::DropNewest, 8);
    let close = async {
        tokio::task::yield_now().await;
        bus.close();
    };
    let (answer, ()) = tokio::join!(client.request(message("rates.get", 1), LIMIT), close);
    assert_eq!(answer.unwrap_err(), RequestError::Closed);
}
