use std::{fs, time::SystemTime};

use ratebus_test_exchange::Exchange;

use super::in_project;

/// An exchange that has every pair of the shipped config.
pub(crate) async fn started() -> Exchange {
    let exchange = Exchange::start().await;
    exchange.list("BTC/USD", "20248.10000", "20249.00000");
    exchange.list("ETH/USD", "2650.01", "2650.02");
    exchange.list("SOL/USD", "150.10", "150.11");
    exchange.list("EUR/USD", "1.08001", "1.08003");
    exchange.list("DOGE/USD", "0.1234560", "0.1234570");
    exchange
}

/// The connection ends and no other is let in.
pub(crate) fn silence(exchange: &Exchange) {
    exchange.refuse_handshakes(Some((503, None)));
    exchange.close(1001);
}

/// The frames of a recording that is kept beside the project, not in it. Without it the test says so and passes.
pub(crate) fn recorded(file: &str) -> Option<Vec<String>> {
    let path = in_project("../shared/fixtures").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("SKIPPED: no recording at {}", path.display());
        return None;
    };
    Some(text.lines().map(str::to_owned).collect())
}

/// Sends a recorded frame as if it had been recorded now: an update of last year would rightly be stale.
pub(crate) fn play(exchange: &Exchange, frame: &str) {
    let now = ratebus_sdk::model::Timestamp::from(SystemTime::now());
    let shifted = frame.split_once("\"timestamp\":\"").and_then(|(before, rest)| {
        let (_, after) = rest.split_once('"')?;
        Some(format!("{before}\"timestamp\":\"{now}\"{after}"))
    });
    exchange.send_text(shifted.as_deref().unwrap_or(frame));
}
