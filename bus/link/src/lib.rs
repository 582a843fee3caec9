//! The bus between processes: what one publishes, over a broker, to all.
//!
//! A [`Link`] joins the bus of its process to a Redis or NATS server. The process's own bus stays what plugins speak to;
//! subjects are the same everywhere.

mod authorities;
mod broker;
mod floor;
mod letter;
mod link;
mod nats;
mod outbound;
mod peers;
mod redis;
mod seal;
mod table;
mod target;

pub use authorities::Authorities;
pub use link::Link;
pub use seal::Keys;
pub use target::Target;
