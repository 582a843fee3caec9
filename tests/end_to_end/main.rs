//! The built binary from outside: a scripted exchange on one side, real clients on the other.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step must fail the test"
)]

/// Each of the tests over each kind of broker.
macro_rules! over_each_broker {
    ($($test:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::BrokerKind::Redis).await;
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::BrokerKind::Nats).await;
            })*
        }
    };
}

mod access;
mod api;
mod asked;
mod backup;
mod brokers;
mod cli;
mod config;
mod contract;
mod crosses;
mod crowd;
mod edge;
mod examples;
mod exchanges;
mod explained;
mod faults;
mod gone;
mod harness;
mod instances;
mod leaving;
mod libraries;
mod live;
mod logins;
mod new_plugin;
mod page;
mod redis;
mod reload;
mod rolling;
mod shipping;
mod sources;
mod spread;
mod trust;
