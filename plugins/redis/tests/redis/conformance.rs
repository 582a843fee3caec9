//! What every plugin must do; the Redis of these tests takes connections and says nothing.

use ratebus_conformance::{Plugin, plugin_suite};

use super::*;

mod feed {
    use super::*;

    plugin_suite!(
        source RedisFeed,
        Plugin::new(|peer| json!({"url": format!("redis://{peer}"), "channel": "rates:*", "pairs": ["BTC_USD"]}))
    );
}

mod publisher {
    use super::*;

    plugin_suite!(sink RedisPublisher, Plugin::new(|peer| json!({"url": format!("redis://{peer}")})));
}
