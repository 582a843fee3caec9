//! What feeds have in common: frames decoded into events, and events kept as rates on the bus.

mod book;
mod decode;

pub use book::RateBook;
pub use decode::{Decode, DecodeError, DecoderEntry, FeedEvent};
