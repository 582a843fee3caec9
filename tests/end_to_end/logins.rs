//! Many people log in at once: nobody else notices.

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::harness::{Launch, WebSocket, started, within};

const ACCOUNTS: usize = 10;
const LOGINS: usize = 200;
const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn two_hundred_logins_at_once_are_answered_while_rates_flow() {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.1", "20000.2");
    // As many as may wait for a hash are let through: the limits for one address are another test's.
    let ratebus = Launch::new().exchange(&exchange.url()).set("plugin.api.config.login_attempts=100").start().await;
    ratebus.ready("user-api").await;
    let (client, url) = (Client::new(), ratebus.url("user-api"));
    let email = |number: usize| format!("user{}@example.com", number % ACCOUNTS);
    for number in 0..ACCOUNTS {
        let account = json!({ "firstName": "Ann", "lastName": "Other", "email": email(number), "password": PASSWORD,
            "confirmPassword": PASSWORD });
        let answer = client.post(format!("{url}/register")).json(&account).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let before = ratebus.metric("ratebus_password_hashes_total").await;

    let logins = (0..LOGINS).map(|number| {
        let path = if number % 2 == 0 { "/login" } else { "/v1/auth/login" };
        let shown = json!({ "email": email(number), "password": PASSWORD });
        let login = client.post(format!("{url}{path}")).json(&shown).send();
        async move { within("the answer to a login", login).await.unwrap() }
    });
    let mut socket = WebSocket::connect(&url, "?pairs=BTC_USD").await;
    let mut ticks = 0_u32;
    let rates = async {
        loop {
            ticks += 1;
            let (bid, ask) = (format!("{}.1", 20_000 + ticks % 100), format!("{}.2", 20_000 + ticks % 100));
            exchange.tick("BTC/USD", &bid, &ask);
            // Fails unless it arrives within the harness's deadline.
            socket.until("BTC_USD", |quote| quote["original"]["buy"] == ask.as_str()).await;
        }
    };
    let answers = tokio::select! {
        answers = join_all(logins) => answers,
        () = rates => unreachable!("rates go on for ever"),
    };
    assert!(ticks > 1, "rates arrived meanwhile");

    let mut good = 0;
    for answer in &answers {
        match answer.status() {
            StatusCode::OK => good += 1,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!(wait > 0);
            }
            other => panic!("{other}"),
        }
    }
    // Each that was let in took one hash, and nobody else any.
    let hashes = ratebus.metric("ratebus_password_hashes_total").await - before;
    assert!(good > 0 && (good..=LOGINS as u64).contains(&hashes), "{good} logins, {hashes} hashes");
    println!("{good} of {LOGINS} logins at once, {ticks} rates meanwhile");
}
