//! Spreads: reading, setting, removing and restoring them, now or later, what they would do, and who changed them.

mod check;
mod condition;
mod form;
pub(crate) mod handlers;
pub(crate) mod history;
pub(crate) mod original;
pub(crate) mod preview;
pub(crate) mod rollback;
mod schedule;
pub(crate) mod scheduled;
mod write;

pub(crate) use schedule::{apply_due, keep_schedule};
pub(crate) use write::{catch_up, lacks, publish, publish_known, published};
