//! Redis for those outside ratebus: `sink/redis` publishes rates or quotes as JSON, `source/redis` takes the rates that
//! others publish.
//!
//! The JSON is described in docs/redis.md. What joins the roles of ratebus itself is `bus.backend`, and another layer.

mod document;
mod feed;
mod publisher;
mod report;
mod server;
mod template;

pub use feed::{RedisFeed, RedisFeedConfig};
pub use publisher::{RedisPublisher, RedisPublisherConfig};

/// The version of these plugins.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
