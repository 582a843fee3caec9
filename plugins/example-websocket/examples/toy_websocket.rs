//! The toy exchange, to try the source with: on port 9443, or the one that is given.

#[path = "../tests/exchange/mod.rs"]
mod exchange;

use std::{env, time::Duration};

use exchange::Toy;
use ratebus_test_exchange::Exchange;
use tokio::time::interval;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = env::args().nth(1).map_or(Ok(9443), |port| port.parse())?;
    let exchange = Exchange::start_on(port, &Toy).await;
    println!("The toy exchange is at {}", exchange.url());
    let mut second = interval(Duration::from_secs(1));
    for cents in (0..100).cycle() {
        exchange.tick("BTC-USD", &format!("81413.{cents:02}"), "81414.00");
        exchange.tick("ETH-USD", &format!("3001.{cents:02}"), "3002.00");
        second.tick().await;
    }
    Ok(())
}
