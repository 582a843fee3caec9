//! The toy exchange, to try the source with: on port 9443, or the one that is given.

#[path = "../tests/exchange/mod.rs"]
mod exchange;

use std::{env, future::pending};

use exchange::answer;
use ratebus_test_exchange::HttpExchange;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = env::args().nth(1).map_or(Ok(9443), |port| port.parse())?;
    let mut steps = (0..100).cycle();
    let exchange = HttpExchange::start_on(port, move |asked| {
        let cents = steps.next().unwrap_or_default();
        let (btc, eth) = (format!("81413.{cents:02}"), format!("3001.{cents:02}"));
        answer(asked, &[("BTC-USD", &btc, "81414.00"), ("ETH-USD", &eth, "3002.00")])
    })
    .await;
    println!("The toy exchange is at {}", exchange.url());
    pending().await
}
