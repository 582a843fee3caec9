//! Recorded exchange frames, played again, as a source of rates: for demonstrations, tests and load.
//!
//! The frames go through the decoder of the exchange they came from and through the same
//! [`RateBook`](ratebus_sdk::feed::RateBook) as live ones. `recordings/README.md` describes the file.

mod config;
mod player;
mod recording;

pub use config::ReplayConfig;
pub use player::Replay;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
