//! The API against a real Postgres server, which the tests start themselves.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what goes wrong here must fail the test")]
#![allow(dead_code, reason = "the harness is for more tests than these")]

use ratebus_test_servers::Kind;

include!("suite.rs");

mod servers;

const KIND: Kind = Kind::Postgres;
