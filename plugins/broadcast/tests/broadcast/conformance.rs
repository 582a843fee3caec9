//! What every plugin must do.

use ratebus_broadcast::Broadcast;
use ratebus_conformance::{Plugin, plugin_suite};
use serde_json::json;

plugin_suite!(sink Broadcast, Plugin::new(|_| json!({"listener": "web"})).on("web"));
