//! `CoinMarketCap`'s quotes as a source of rates: one reference price a coin, an average over many exchanges, some minutes old.
//!
//! Every minute the quotes of all coins are asked for, a request for each 100 coins and each currency; more often brings
//! nothing new, as they are kept for a minute there. A rate is as old as the exchange's own times say. The key goes into a
//! header and nowhere else; how much of the plan is left is asked at the start and hourly.
//!
//! Facts about the API come from `CoinMarketCap`'s documentation and from recorded answers.

mod api;
mod config;
mod credits;
mod quotes;
mod source;

pub use config::Protocol;
pub use source::CoinMarketCap;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
