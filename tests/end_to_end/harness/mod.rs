//! What the end-to-end tests share: the built binary, its clients, and waiting with a deadline.

mod admin;
mod clients;
mod cluster;
mod exchange;
mod follower;
mod outsider;
mod ratebus;

use std::{future::Future, time::Duration};

use serde_json::Value;

pub(crate) use admin::{Admin, EMAIL, PASSWORD};
pub(crate) use clients::{SocketIo, Sse, WebSocket};
pub(crate) use cluster::{Cluster, Plan, tick};
pub(crate) use exchange::{play, recorded, silence, started};
pub(crate) use follower::{BASES, Follower, cents, check_prices, decimal, markup, prices, source_of};
pub(crate) use outsider::Outsider;
pub(crate) use ratebus::{Launch, Ratebus, in_project, metric};

/// How long anything may take before a test gives up: generous, since it is only waited for in full by a test that fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `future`; fails the test, naming `what`, when it takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, asking).await
}

/// A pair's quote or rate over HTTP.
pub(crate) async fn quote_over_http(url: &str, pair: &str) -> Value {
    let answer = within("a quote", reqwest::get(format!("{url}/v1/rates/{pair}"))).await.unwrap();
    assert_eq!(answer.status(), 200, "{pair}");
    answer.json().await.unwrap()
}
