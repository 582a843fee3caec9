//! Spreads: reading, setting and removing them, and what they would do.

mod check;
mod condition;
mod form;
mod handlers;
mod original;
mod preview;
mod write;

pub(crate) use handlers::{delete, get, list, put};
pub(crate) use original::update_rates;
pub(crate) use preview::preview;
pub(crate) use write::{is_in, publish, publish_known, published};
