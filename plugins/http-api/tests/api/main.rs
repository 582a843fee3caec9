//! The API against the real router, a real SQLite file and a bus in memory.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

mod accounts;
mod bodies;
mod harness;
mod history;
mod numbers;
mod openapi;
mod page;
mod privileges;
mod quotes;
mod rates;
mod refresh;
mod routes;
mod scheduled;
mod sessions;
mod spreads;
mod startup;
mod throttle;
mod tokens;
mod update_rates;
mod users;
