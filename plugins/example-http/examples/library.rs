//! The source as a shared library, for a ratebus that is already built.

ratebus_sdk::export!(ratebus_sdk::poll::Poll<ratebus_example_http::ExampleHttpExchange>);
