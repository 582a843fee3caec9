//! Plugins for the tests of shared libraries: built as a library, and into what is compared with it.

mod recorder;
mod steady;

pub use recorder::Recorder;
pub use steady::Steady;

ratebus_sdk::export!(source Steady, sink Recorder);
