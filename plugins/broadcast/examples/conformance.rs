//! A server for the official suites of Engine.IO 4 and Socket.IO 5 and for Autobahn's of WebSocket:
//! `cargo run -p ratebus-broadcast --features conformance --example conformance -- 127.0.0.1:3100`

use std::{env, error::Error};

use ratebus_sdk::testkit::RecordingHost;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("an address was expected, such as 127.0.0.1:3100")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let host = RecordingHost::new();
    let routes = ratebus_broadcast::conformance::routes(&host.context("conformance"));
    axum::serve(listener, routes.into_router()).await?;
    Ok(())
}
