//! The toy exchange: what it answers. Connections, and everything that can go wrong with them, are the test kit's.

use ratebus_test_exchange::{Asked, Reply};

/// Answers as the exchange does that trades just these: symbol, bid and ask. Prices are put in as text: some tests send
/// what is none.
pub(crate) fn answer(asked: &Asked, listed: &[(&str, &str, &str)]) -> Reply {
    let Some(symbols) = asked.target.strip_prefix("/prices?symbols=") else { return Reply::status(404, "not found") };
    let wanted = listed.iter().filter(|(symbol, ..)| symbols.split(',').any(|asked| asked == *symbol));
    let price =
        |(symbol, bid, ask): &(&str, &str, &str)| format!(r#"{{"symbol":"{symbol}","bid":"{bid}","ask":"{ask}"}}"#);
    let prices: Vec<String> = wanted.map(price).collect();
    Reply::Json(format!(r#"{{"prices":[{}]}}"#, prices.join(",")))
}
