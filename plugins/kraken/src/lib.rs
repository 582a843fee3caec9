//! Kraken's public WebSocket v2 ticker as a source of rates.
//!
//! One connection carries all pairs. It subscribes to every change of the best bid and ask (`event_trigger: "bbo"`; by
//! default Kraken sends trades only, and between trades bid and ask would silently rot), and it is made anew when it
//! ends, falls silent or is not answered. A pair that falls silent alone is quiet or lost, and is asked for anew. What
//! the frames say goes through a [`RateBook`](ratebus_sdk::feed::RateBook).
//!
//! Facts about the protocol come from Kraken's documentation of its WebSocket API v2 and from recorded sessions.

mod config;
mod connection;
mod decode;
mod ending;
mod maintenance;
mod meter;
mod pace;
mod session;
mod source;
mod subscription;

pub use config::KrakenConfig;
pub use decode::DECODER;
pub use source::Kraken;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
