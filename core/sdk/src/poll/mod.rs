//! For exchanges that are asked over HTTP again and again.
//!
//! A source is an [`Exchange`]: which requests make up a round, and what their answers mean. The [`Poller`] does the rest:
//! when to ask, how long to wait after a failure, what of it becomes rates, and the source's health. A rate is as old as
//! the request it answers, or older where the exchange says so; asking again does not make it younger.

mod answer;
mod client;
mod config;
mod feed;
mod pace;
mod poller;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use client::{Client, ClientLimits};
pub use config::{Common, Defaults};
pub use feed::Feed;
pub use poller::{Exchange, Poller};
