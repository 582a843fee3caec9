//! Databases for tests: MariaDB and Postgres servers that a test starts on a free port and that go with it, and a client
//! to look at what is stored.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what goes wrong here must fail the test")]
#![allow(clippy::missing_panics_doc, reason = "everything here panics when a test cannot go on")]

mod client;
mod database;
mod keeper;
mod server;

pub use client::{Client, Lock};
pub use database::Database;
pub use server::{Options, Server};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    MariaDb,
    /// A server.
    Postgres,
}
