//! Those who go away, and those who are sent away.

use reqwest::{Client, RequestBuilder, StatusCode};

use crate::harness::{Launch, Ratebus, Sse, WebSocket, eventually, started, within};

const RATE: &str = "/v1/rates/BTC_USD";

/// A load balancer sees a stop before anybody notices it otherwise.
#[tokio::test]
async fn a_process_that_is_to_stop_turns_not_ready_and_goes_on() {
    let exchange = started().await;
    // Longer than any of this takes: a second signal ends it.
    let launch = Launch::new().exchange(&exchange.url()).set("runtime.shutdown_delay=1h");
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let mut before = WebSocket::connect(&url, "").await;
    before.next().await;

    ratebus.signal("TERM");
    let readyz = format!("{url}/readyz");
    eventually("not ready", async || {
        let answer = reqwest::get(&readyz).await.ok()?;
        (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let (mut after, mut events) = (WebSocket::connect(&url, "").await, Sse::connect(&url).await);
    exchange.tick("DOGE/USD", "0.1234560", "0.1234599");
    for client in [&mut before, &mut after] {
        client.until("DOGE_USD", |quote| quote["original"]["buy"] == "0.1234599").await;
    }
    events.see("DOGE_USD", |quote| quote["original"]["buy"] == "0.1234599").await;
    ratebus.signal("TERM");
    ratebus.exited().await;
}

/// Asks for something else than there is now, in the background.
async fn waiting(ratebus: &Ratebus) -> RequestBuilder {
    let url = format!("{}{RATE}", ratebus.url("user-api"));
    let now = within("a quote", reqwest::get(&url)).await.unwrap();
    Client::new().get(format!("{url}?wait=60s")).header("if-none-match", &now.headers()["etag"])
}

async fn wait_for_waiting(ratebus: &Ratebus, number: u64) {
    eventually("the number of requests that wait", async || {
        (ratebus.metric("ratebus_waiting_requests").await == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_change_may_go_away_and_is_not_kept_when_the_process_stops() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.1", "20000.2");
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    eventually("a quote", async || {
        let answer = reqwest::get(format!("{}{RATE}", ratebus.url("user-api"))).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let gone = tokio::spawn(waiting(&ratebus).await.send());
    wait_for_waiting(&ratebus, 1).await;
    gone.abort();
    wait_for_waiting(&ratebus, 0).await;
    let told = tokio::spawn(waiting(&ratebus).await.send());
    wait_for_waiting(&ratebus, 1).await;
    ratebus.stop().await;
    assert_eq!(within("an answer", told).await.unwrap().unwrap().status(), StatusCode::NOT_MODIFIED);
}
