//! The source as a shared library, for a ratebus that is already built.

ratebus_sdk::export!(ratebus_sdk::stream::Stream<ratebus_example_websocket::ExampleWebsocketExchange>);
