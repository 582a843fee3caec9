//! What feeds have in common: frames decoded into events, events kept as rates on the bus, and the settings of it.

mod book;
mod decode;
pub mod json;
mod pairs;
mod settings;
mod symbol_name;

pub use book::RateBook;
pub use decode::{Decode, DecodeError, DecoderEntry, FeedEvent};
pub use pairs::pairs;
pub use settings::{check_address, default, limits, symbols};
pub use symbol_name::SymbolName;
