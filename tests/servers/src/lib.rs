//! Servers for tests, each on a free port and gone with the test: MariaDB and Postgres, with a client to look at what is
//! stored, and the brokers Redis and NATS.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what goes wrong here must fail the test")]
#![allow(clippy::missing_panics_doc, reason = "everything here panics when a test cannot go on")]

mod broker;
mod certificate;
mod client;
mod database;
mod keeper;
mod machine;
mod server;

pub use broker::{Broker, BrokerKind, BrokerOptions};
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
