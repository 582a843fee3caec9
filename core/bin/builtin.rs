//! Everything built into this binary, in one sorted list. A new plugin is a dependency in `Cargo.toml` and a line here.

use ratebus_binance::Binance;
use ratebus_bitstamp::Bitstamp;
use ratebus_broadcast::Broadcast;
use ratebus_coinbase::Coinbase;
use ratebus_coinmarketcap::CoinMarketCap;
use ratebus_core::{Entry, Registry};
use ratebus_http_api::HttpApi;
use ratebus_http_json::HttpJson;
use ratebus_kraken::{Kraken, KrakenRest};
use ratebus_okx::Okx;
use ratebus_redis::{RedisFeed, RedisPublisher};
use ratebus_replay::Replay;
use ratebus_sdk::{feed::DecoderEntry, poll::Poll, stream::Stream};
use ratebus_spread::Spread;
use ratebus_ws_json::WsJson;

/// The component types that a config can name with `use`.
pub(crate) const COMPONENTS: Registry = Registry::new(&[
    Entry::sink::<Broadcast>(ratebus_broadcast::VERSION),
    Entry::sink::<HttpApi>(ratebus_http_api::VERSION),
    Entry::sink::<RedisPublisher>(ratebus_redis::VERSION),
    Entry::sink::<Spread>(ratebus_spread::VERSION),
    Entry::source::<Stream<Binance>>(ratebus_binance::VERSION),
    Entry::source::<Stream<Bitstamp>>(ratebus_bitstamp::VERSION),
    Entry::source::<Stream<Coinbase>>(ratebus_coinbase::VERSION),
    Entry::source::<Poll<CoinMarketCap>>(ratebus_coinmarketcap::VERSION),
    Entry::source::<Poll<HttpJson>>(ratebus_http_json::VERSION),
    Entry::source::<Stream<Kraken>>(ratebus_kraken::VERSION),
    Entry::source::<Poll<KrakenRest>>(ratebus_kraken::VERSION),
    Entry::source::<Stream<Okx>>(ratebus_okx::VERSION),
    Entry::source::<RedisFeed>(ratebus_redis::VERSION),
    Entry::source::<Replay>(ratebus_replay::VERSION),
    Entry::source::<Stream<WsJson>>(ratebus_ws_json::VERSION),
])
.trying_libraries_with(&["plugins", "try"]);

/// The exchanges whose recorded frames `source/replay` can read.
pub(crate) const DECODERS: &[DecoderEntry] = &[
    ratebus_binance::DECODER,
    ratebus_bitstamp::DECODER,
    ratebus_coinbase::DECODER,
    ratebus_kraken::DECODER,
    ratebus_okx::DECODER,
];
