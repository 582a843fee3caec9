//! What feeds have in common: frames decoded into events, and events kept as rates on the bus.

mod book;
mod decode;
mod pairs;

pub use book::RateBook;
pub use decode::{Decode, DecodeError, DecoderEntry, FeedEvent};
pub use pairs::pairs;
