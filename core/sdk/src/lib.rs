//! What a plugin is written against.
//!
//! A [`Source`] brings rates in, a [`Sink`] takes messages off the bus (and may publish others: a processor). Both are
//! made by a [`Factory`] from their part of the config, and reach everything else through their [`Context`]. Plugins
//! link neither the bus nor the engine, and none needs another.

mod backoff;
mod bearer;
mod body;
mod clock;
mod component;
mod config;
mod context;
pub mod duration;
mod error;
pub mod export;
pub mod feed;
pub mod gather;
mod health;
mod inbox;
mod log_limit;
mod network;
pub mod openapi;
mod origins;
mod pair_settings;
#[cfg(feature = "poll")]
pub mod poll;
pub mod private;
mod problem;
mod routes;
mod sessions;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(feature = "tls")]
pub mod tls;

pub use backoff::{AttemptBudget, Backoff};
pub use bearer::bearer;
pub use body::{BodyError, read_body};
pub use clock::Clock;
pub use component::{Factory, Sink, Source};
pub use config::{Compat, CompatReference, ConfigError, Env, Problem};
pub use context::{Context, Host};
pub use error::{Error, ErrorKind, Retry};
pub use health::{Health, HealthReport, HealthState};
pub use inbox::{Inbox, Interest, PollInbox};
pub use log_limit::LogLimit;
pub use network::{is_loopback, network};
pub use origins::Origins;
pub use pair_settings::{PairSettings, PairTable, PriceMethod};
pub use problem::{FieldProblem, ProblemDocument};
pub use ratebus_model::{self as model, Outgoing, Policy, PublishError, RequestError};
pub use routes::Routes;
pub use sessions::{NoSession, SessionPass, Sessions};

/// Compiles the guide's example of a source.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
struct Guide;
