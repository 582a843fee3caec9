use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use figment::value::Value;
use ratebus_model::{Pair, SourceName};
use ratebus_sdk::{Compat, Origins, PairSettings};
use serde::{Deserialize, Deserializer, de::Error};
use tracing_subscriber::EnvFilter;

use super::bus::{Bus, RoleBus};
use crate::{dynamic::Sha256, proxies::TrustedProxies};

/// The whole config file. Unknown keys are refused everywhere.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[bus]`
    pub bus: Bus,
    /// `[compat]`
    pub compat: Compat,
    /// `[pairs.<PAIR>]`
    pub pairs: BTreeMap<Pair, PairSettings>,
    /// `[role.<name>]`
    pub role: BTreeMap<String, Role>,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[plugin.<name>]`
    pub plugin: BTreeMap<SourceName, Plugin>,
    /// `[listener.<name>]`
    pub listener: BTreeMap<String, Listener>,
}

/// `[runtime]`: the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Which `[role.<name>]` this process plays. `--role` and `RATEBUS_ROLE` win.
    pub role: String,
    /// How long the process goes on when it is to stop and has turned not ready.
    #[serde(with = "ratebus_sdk::duration")]
    pub shutdown_delay: Duration,
    /// How long everything may take to stop then, together.
    #[serde(with = "ratebus_sdk::duration")]
    pub shutdown_grace: Duration,
}

impl Default for Runtime {
    fn default() -> Self {
        let (shutdown_delay, shutdown_grace) = (Duration::from_secs(1), Duration::from_secs(10));
        Self { role: "all".to_owned(), shutdown_delay, shutdown_grace }
    }
}

/// `[log]`: what is written to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// As tracing's `EnvFilter` writes it: `info`, or `info,ratebus_kraken=debug`.
    #[serde(deserialize_with = "filter")]
    pub filter: String,
}

fn filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    EnvFilter::try_new(&text).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))?;
    Ok(text)
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[metrics]`: the operator's listener with `/metrics` and `/health`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where it listens. Loopback, unless the network is trusted: it tells a lot and asks for no password.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9090)) }
    }
}

/// `[role.<name>]`: a list of plugins, and what differs for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The plugins of this role, in the order in which messages pass through them.
    pub plugins: Vec<SourceName>,
    /// Replaces `[metrics]`.
    pub metrics: Option<Metrics>,
    /// What differs from `[bus]`.
    #[serde(default)]
    pub bus: RoleBus,
}

/// `[plugins]`: where shared libraries come from. Without a folder none is loaded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// The folder that they lie in.
    pub dir: Option<PathBuf>,
    /// Whether a library may do without a `sha256`.
    pub allow_unpinned: bool,
}

/// `[plugin.<name>]`: one component.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Its type: `source/kraken`. `ratebus plugins` lists them.
    pub r#use: String,
    /// The library it comes from, a file's name in `plugins.dir`; without it, it is built in.
    pub library: Option<String>,
    /// Which bytes that library has.
    pub sha256: Option<Sha256>,
    /// Whether nothing starts when that library cannot be used.
    #[serde(default)]
    pub required: bool,
    /// Its own settings; every type documents its keys.
    #[serde(default = "empty")]
    pub config: Value,
}

fn empty() -> Value {
    Value::from(BTreeMap::<String, Value>::new())
}

/// `[listener.<name>]`: a port that plugins mount routes on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where it listens: `0.0.0.0:3334`, `[::]:3334`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many connections it holds at once, also those that became a `WebSocket`; more wait in the kernel's backlog.
    #[serde(default = "default_max_connections", deserialize_with = "at_least_one")]
    pub max_connections: usize,
    /// How many of them one address may have (of IPv6 one /64); more are refused. A trusted proxy may have all.
    #[serde(default = "default_max_connections_per_address", deserialize_with = "at_least_one")]
    pub max_connections_per_address: usize,
    /// The reverse proxies in front of it, as addresses and networks: only theirs is `X-Forwarded-For` believed.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// The origins whose pages may use it from a browser, beside its own: `https://app.example.com`, or `*` for all.
    #[serde(default)]
    pub origins: Origins,
}

impl Listener {
    /// One without anything in front of it, that holds at most `max_connections`, whosever they are.
    pub(crate) fn plain(listen: SocketAddr, max_connections: usize) -> Self {
        Self {
            listen,
            max_connections,
            max_connections_per_address: max_connections,
            trusted_proxies: TrustedProxies::default(),
            origins: Origins::default(),
        }
    }
}

fn default_max_connections() -> usize {
    16_384
}

/// Many people may share an address, and each of them needs a few.
fn default_max_connections_per_address() -> usize {
    1024
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    NonZeroU32::deserialize(from).map(|number| number.get() as usize)
}
