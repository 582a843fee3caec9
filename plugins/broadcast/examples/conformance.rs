//! A server for the official suites of Engine.IO 3 and 4 and Socket.IO 5 and for Autobahn's of WebSocket. It prints its address,
//! with the port that it got for a 0: `cargo run -p ratebus-broadcast --features conformance --example conformance -- 127.0.0.1:0`

use std::{env, error::Error};

use ratebus_sdk::testkit::RecordingHost;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("an address was expected, such as 127.0.0.1:3100")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let host = RecordingHost::new();
    let routes = ratebus_broadcast::conformance::routes(&host.context("conformance"));
    axum::serve(listener, routes.into_router()).await?;
    Ok(())
}
