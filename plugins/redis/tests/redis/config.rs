//! What `ratebus check` says of a config.

use super::*;

/// The problems of a config, one after the other; empty if it is accepted.
fn problems<F: Factory>(config: Value) -> String {
    match serde_json::from_value(config) {
        Err(error) => format!("not read: {error}"),
        Ok(config) => F::build(config, &env("redis", &[])).err().map(|error| error.to_string()).unwrap_or_default(),
    }
}

#[test]
fn a_publisher_that_cannot_work_is_refused_by_name() {
    let usual = json!({"url": "redis://127.0.0.1"});
    assert_eq!(problems::<RedisPublisher>(usual.clone()), "");
    let all = json!({"from": "quotes", "channel": "rates:{pair}", "hash": "last:{source}", "key": "rates:{pair}", "key_ttl": "2s"});
    assert_eq!(problems::<RedisPublisher>(with(usual.clone(), &all)), "");
    for (more, expected) in [
        (json!({"url": "redis://redis.example"}), "url: a Redis on another machine needs a password"),
        (json!({"password_file": "/nonexistent"}), "password_file: cannot read /nonexistent"),
        (json!({"ca_file": "/nonexistent"}), "ca_file: is for rediss://"),
        (json!({"from": "trades"}), "unknown variant `trades`"),
        (json!({"channel": "rates:{par}"}), "channel: no placeholder is named {par}"),
        (json!({"hash": "{x}", "key": "{y}{pair}"}), "hash: no placeholder is named {x}"),
        (json!({"hash": "{x}", "key": "{y}{pair}"}), "key: no placeholder is named {y}"),
        (json!({"key": "rates"}), "key: must have {pair}"),
        (json!({"key_ttl": "10s"}), "key_ttl: is for key"),
        (json!({"key": "{pair}", "key_ttl": "1s"}), "key_ttl: must be at least 2s"),
        (json!({"chanel": "rates"}), "unknown field `chanel`"),
    ] {
        let said = problems::<RedisPublisher>(with(usual.clone(), &more));
        assert!(said.contains(expected), "{more}: {said}");
    }
}

#[test]
fn a_feed_that_cannot_work_is_refused_by_name() {
    let usual = json!({"url": "redis://127.0.0.1", "channel": "rates:*", "pairs": ["BTC_USD"]});
    assert_eq!(problems::<RedisFeed>(usual.clone()), "");
    for (more, expected) in [
        (json!({"url": "redis://:secret@redis.example:x"}), "url: expected a URL such as"),
        (
            json!({"url": "redis://:secret@127.0.0.1", "password_file": "/a"}),
            "password_file: the URL has a password already",
        ),
        (json!({"channel": ""}), "channel: must not be empty"),
        (json!({"pairs": []}), "pairs: at least one pair"),
        (json!({"pairs": ["BTC_USD", "BTCUSD", "XBT/USD"]}), "pairs.1: \"BTCUSD\" is not a pair"),
        (json!({"pairs": ["BTC_USD", "BTCUSD", "XBT/USD"]}), "pairs.2: BTC_USD is listed twice"),
        (json!({"stale_after": "1m"}), "stale_after: must be above zero and shorter than dead_after"),
        (json!({"stale_after": "0s"}), "stale_after: must be above zero"),
    ] {
        let said = problems::<RedisFeed>(with(usual.clone(), &more));
        assert!(said.contains(expected) && !said.contains("secret"), "{more}: {said}");
    }
}
