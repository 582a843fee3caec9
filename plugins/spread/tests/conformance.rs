//! What every plugin must do.

use ratebus_conformance::{Plugin, plugin_suite};
use ratebus_spread::Spread;
use serde_json::json;

plugin_suite!(sink Spread, Plugin::new(|_| json!({"default": {"buy": "0.5", "sell": "0.5"}})));
