//! An exchange by config alone: which address has its prices as JSON, and where in the answer they are.

mod config;
mod source;

pub use config::Protocol;
pub use source::HttpJson;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
