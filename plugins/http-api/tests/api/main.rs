//! The API against the real router, a real SQLite file and a bus in memory.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use ratebus_test_servers::Kind;

include!("suite.rs");

mod config;
mod conformance;
mod files;
mod numbers;
mod openapi;
mod page;
mod quotes;
mod rates;
mod waiting;

const KIND: Kind = Kind::Sqlite;
