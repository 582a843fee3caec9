//! Spreads: reading, setting, removing and restoring them, what they would do, and who changed them.

mod check;
mod condition;
mod form;
mod handlers;
mod history;
mod original;
mod preview;
mod rollback;
mod write;

pub(crate) use handlers::{delete, get, list, put};
pub(crate) use history::history;
pub(crate) use original::update_rates;
pub(crate) use preview::preview;
pub(crate) use rollback::rollback;
pub(crate) use write::{is_in, publish, publish_known, published};
