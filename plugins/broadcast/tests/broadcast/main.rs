//! The plugin on a real listener, with real clients of every transport.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "the helpers of tests fail the test")]

mod access;
mod admin;
mod asyncapi;
mod caps;
mod chosen;
mod clients;
mod conformance;
mod eio3;
mod fanout;
mod gone;
mod limits;
mod logins;
mod origin;
mod pace;
mod quotes;
mod resume;
mod server;
mod slow;
mod socketio;
mod sse;
mod websocket;
