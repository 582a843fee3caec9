//! For exchanges that are asked over HTTP again and again.
//!
//! An [`Exchange`] says what differs: its address, which requests make up a round, and what their answers mean. All else is
//! here: a [`Poll`] of it is a source that knows when to ask, how long to wait after a failure, and how its health is. What
//! the answers say goes through a [`RateBook`](crate::feed::RateBook). A rate is as old as the request it answers, or older
//! where the exchange says so; asking again does not make it younger.

mod answer;
mod client;
mod config;
mod exchange;
mod feed;
mod pace;
mod source;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use axum::http::{HeaderMap, HeaderName, HeaderValue};
pub use client::{Client, ClientLimits};
pub use config::{NoKeys, PollConfig};
pub use exchange::{Exchange, Rules};
pub use feed::Feed;
pub use source::Poll;
