//! Any exchange with a WebSocket that speaks JSON as a source of rates, by config alone: its messages as templates, and
//! JSON pointers (RFC 6901) to what a frame holds.
//!
//! Prices acknowledge their subscription, since each exchange says so in its own way. Numbers stay the text they were.

mod decoder;
mod filter;
mod protocol;
mod template;

pub use filter::Filter;
pub use protocol::{PriceFrame, WsJson};
pub use template::Message;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
