//! The same plugin as a shared library: `cargo build --release -p ratebus-kraken --example kraken_library`.

ratebus_sdk::export!(ratebus_sdk::stream::Stream<ratebus_kraken::Kraken>);
