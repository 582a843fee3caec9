//! Requests and their answers.

use ratebus_bus::RequestError;

use super::*;

/// So long that whoever waits for it has failed.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Answers everything with ten times what was asked, twice.
fn answer(process: &Process, mut requests: Subscription) {
    let publisher = process.publisher.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let Some(reply) = request.reply.clone() else { continue };
            for _ in 0..2 {
                publisher.try_publish(message(reply.as_str(), number(&request) * 10)).unwrap();
            }
        }
    });
}

async fn ask(process: &Process, number: u64) -> Result<u64, RequestError> {
    let request = process.publisher.request(message("events.ask", number), FOR_EVER);
    let answer = timeout(DEADLINE, request).await.unwrap();
    answer.map(|message| self::number(&message))
}

/// Asks until it is known that somebody listens.
async fn asked(process: &Process) {
    let deadline = Instant::now() + DEADLINE;
    while process.publisher.request(message("events.ask", 0), Duration::from_millis(100)).await.is_err() {
        assert!(Instant::now() < deadline, "nobody answers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn an_answer_goes_to_the_request_it_answers(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [client, responder] = &processes;
    answer(responder, responder.reader("events.ask"));
    asked(client).await;
    let answers = tokio::join!(ask(client, 1), ask(client, 2), ask(responder, 3));
    assert_eq!(answers, (Ok(10), Ok(20), Ok(30)));
    stop(processes).await;
}

pub(super) async fn one_member_answers(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await, backend.join().await];
    let [client, one, two] = &processes;
    for responder in [one, two] {
        answer(responder, responder.member("events.ask", "responders"));
    }
    asked(client).await;
    for number in 1..20 {
        assert_eq!(ask(client, number).await, Ok(number * 10));
    }
    stop(processes).await;
}

pub(super) async fn without_anybody_who_listens_the_error_comes_at_once(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [client, other] = &processes;
    let mut elsewhere = other.reader("events.other");
    assert_eq!(ask_once_settled(client).await, RequestError::NoResponders);
    // It went out all the same, as everything does; and who comes later is asked.
    client.say("events.other", 1);
    assert_eq!(number(&*next(&mut elsewhere).await), 1);
    let responder = other.reader("events.ask");
    answer(other, responder);
    asked(client).await;
    stop(processes).await;
}

/// Until everybody has been heard, somebody may listen.
async fn ask_once_settled(client: &Process) -> RequestError {
    let first = client.publisher.request(message("events.ask", 1), Duration::from_secs(3)).await.unwrap_err();
    assert!([RequestError::TimedOut, RequestError::NoResponders].contains(&first), "{first}");
    ask(client, 2).await.unwrap_err()
}

pub(super) async fn who_listens_and_does_not_answer_is_waited_for(backend: impl Backend) {
    let processes = [backend.join().await, backend.join().await];
    let [client, silent] = &processes;
    let mut requests = silent.reader("events.ask");
    let limit = Duration::from_millis(300);
    // What was asked before is known to have arrived once the last is.
    let mut heard = 0;
    while heard < 5 {
        let error = client.publisher.request(message("events.ask", 1), limit).await.unwrap_err();
        if error == RequestError::TimedOut {
            let request = next(&mut requests).await;
            assert!(request.reply.is_some());
            heard += 1;
        }
        tokio::task::yield_now().await;
    }
    stop(processes).await;
}
