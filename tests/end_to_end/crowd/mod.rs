//! Very many clients, clients that come and go all the time, and clients that take nothing: light ones, which check all that
//! they are told. `RATEBUS_CROWD_*` makes each of them larger: CONTRIBUTING.md has how.

mod client;
mod market;
mod reconnects;
mod seen;
mod storm;
mod stuck;

use std::{env, net::SocketAddr};

use crate::harness::{Admin, Launch, Ratebus};

/// Of an environment variable, or what a run has without it.
fn number(name: &str, usual: usize) -> usize {
    env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What starts a ratebus on the market that lets so many clients in, of one address.
async fn launch(market: &market::Market, clients: usize) -> Launch {
    let pairs = market::PAIRS;
    let launch = Launch::new()
        .exchange(&market.url())
        .set(&format!("plugin.kraken.config.pairs={pairs:?}"))
        .set(&format!("plugin.broadcast.config.max_clients={clients}"))
        .set("plugin.broadcast.config.max_clients_per_address=1000000")
        .set("listener.user-api.max_connections=20000")
        .set("listener.user-api.max_connections_per_address=20000");
    Admin::create(&launch).await;
    launch
}

async fn start(launch: &Launch) -> (Ratebus, SocketAddr) {
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let address = ratebus.url("user-api").replace("http://", "").parse().unwrap();
    (ratebus, address)
}
