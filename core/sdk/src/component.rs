use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{ConfigError, Context, Env, Error, Inbox, Interest};

/// How a component comes into being: from its own part of the config, checked completely before anything starts.
///
/// `build` must not do I/O that can fail for reasons outside the config, bind ports or start tasks: `ratebus check`
/// builds every component and runs none. It is called again for each restart.
pub trait Factory: Sized {
    /// The component's `config` table. Derive `Deserialize` with `#[serde(deny_unknown_fields)]`, so that a misspelled
    /// key is an error.
    type Config: DeserializeOwned;

    /// The type named by `use` in the config: `source/kraken`, `sink/spread`.
    const TYPE: &'static str;

    /// Checks the config and makes the component. All problems are reported at once.
    fn build(config: Self::Config, env: &Env) -> Result<Self, ConfigError>;
}

/// Brings rates onto the bus.
///
/// # Lifecycle
/// - `run` is called once on each instance and owns it. It ends when [`Context::cancelled`] resolves, and must then
///   return within the shutdown grace; what does not is dropped at its next await.
/// - `Ok` means finished for good (a recording played to its end). It is not restarted.
/// - `Err` is logged and counted; its [`Retry`](crate::Retry) tells whether the engine builds a new instance at once,
///   after a jittered backoff, or never. A panic counts as an internal error that asks for backoff. The third panic,
///   internal or protocol error in ten minutes disables the component while everything else goes on.
/// - A lost connection is no reason to return: reconnect inside `run`, with [`Backoff`](crate::Backoff) and
///   [`AttemptBudget`](crate::AttemptBudget), so that sequences go on.
/// - Dropping the future must release everything: no detached tasks.
#[async_trait]
pub trait Source: Send {
    /// Runs until cancelled, finished or failed.
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error>;
}

/// Takes messages off the bus. The lifecycle is that of [`Source`]; a processor is a sink that also publishes.
#[async_trait]
pub trait Sink: Send {
    /// What it wants to hear, asked once before `run`. May be empty.
    fn interests(&self) -> Vec<Interest>;

    /// Runs until cancelled, finished or failed. `inbox` delivers what [`Sink::interests`] asked for, the replayed last
    /// values first.
    async fn run(self: Box<Self>, inbox: Inbox, ctx: Context) -> Result<(), Error>;
}
