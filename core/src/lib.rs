//! The engine: config, registry, supervision, listeners and shutdown.
//!
//! A process plays one role, which is a list of plugins. [`config::Config`] reads and checks everything first;
//! [`run`] binds the ports, starts each plugin under a supervisor, and stops them in order.

mod api;
mod body;
pub mod config;
mod cors;
pub mod dynamic;
mod engine;
mod head;
mod health;
mod host;
mod http;
mod instances;
mod listener;
mod mounts;
mod open_files;
mod panics;
mod places;
mod proxies;
mod registry;
mod reload;
mod seated;
mod shutdown;
mod supervisor;
mod telemetry;

pub use engine::{StartError, Stopped, run};
pub use registry::{BuildError, Component, Entry, Registry};
pub use reload::ReadPlan;
pub use telemetry::Telemetry;
