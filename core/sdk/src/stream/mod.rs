//! Sources that follow an exchange over one WebSocket.
//!
//! An [`Exchange`] says what differs: its address, its names of pairs, its messages, and how its frames are read. All else
//! is here. A [`Stream`] connects within a budget of attempts, asks for the pairs and keeps account of what was
//! acknowledged, watches for silence, asks anew for a pair that falls silent alone, and makes another connection when one
//! ends. What the frames say goes through a [`RateBook`](crate::feed::RateBook).

mod config;
mod connection;
mod ending;
mod exchange;
mod meter;
mod pace;
mod session;
mod source;
mod subscriptions;

pub use config::StreamConfig;
pub use exchange::{Exchange, Liveness, Rules, Symbols, decoder};
pub use source::Stream;
