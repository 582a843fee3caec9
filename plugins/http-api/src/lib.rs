//! `sink/http-api`: rates, accounts and spreads over HTTP, and the page.
//!
//! Two families of routes, each with one form of answers: those of the original project (`envelope`) and `/v1`
//! (`problem`). `docs/api.md` is the contract of both. Rates are read from the bus's last values at each request; the
//! database behind `store` holds accounts and spreads, and is opened only where they are served.

mod accounts;
pub mod admin;
mod asset;
mod body;
mod caller;
mod config;
mod docs;
mod envelope;
mod headers;
mod health;
mod json;
mod openapi;
mod page;
mod paging;
mod pair;
mod path_id;
mod plugin;
mod problem;
mod quotes;
mod rates;
mod root;
mod spreads;
mod state;
mod store;
mod waiting;

pub use accounts::{HashCost, PasswordPolicy};
pub use config::{Config, Group};
pub use plugin::HttpApi;
pub use store::DatabaseUrl;

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
