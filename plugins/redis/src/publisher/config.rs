use std::{path::PathBuf, time::Duration};

use ratebus_model::Pattern;
use ratebus_sdk::{ConfigError, duration};
use secrecy::SecretString;
use serde::Deserialize;

use super::places::{Key, Places};
use crate::template::Template;

/// How long a key lives unless the config says otherwise.
const KEY_TTL: Duration = Duration::from_mins(1);
/// A key that lives shorter would be gone between two words of a live feed.
const SHORTEST_KEY_TTL: Duration = Duration::from_secs(2);

/// The `config` table of a `sink/redis`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisPublisherConfig {
    /// Where the server is: `redis://` or `rediss://`, with user, password and database.
    pub url: SecretString,
    /// A file with the password, if the URL has none; readable by its owner alone.
    pub password_file: Option<PathBuf>,
    /// A PEM file of the only certificate authorities to trust; without it the public ones hold.
    pub ca_file: Option<PathBuf>,
    /// Whether a server on another machine may do without a password.
    #[serde(default)]
    pub allow_insecure: bool,
    /// What is published.
    #[serde(default)]
    pub(super) from: Published,
    /// The channel; `{pair}`, `{source}` and `{kind}` are filled in, here and in the names below.
    #[serde(default = "default_channel")]
    pub channel: String,
    /// A hash that keeps the last document of each pair, under the pair's name.
    pub hash: Option<String>,
    /// A key that keeps the last document; it must have `{pair}`.
    pub key: Option<String>,
    /// How long such a key lives when it is not written again; a minute by default.
    #[serde(default, with = "duration::option")]
    pub key_ttl: Option<Duration>,
}

/// What is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Published {
    /// The market's prices, of each source.
    #[default]
    Rates,
    /// The customers' prices.
    Quotes,
}

impl Published {
    /// The subjects it comes under.
    pub(super) fn pattern(self) -> Pattern {
        match self {
            Self::Rates => Pattern::rates(),
            Self::Quotes => Pattern::quotes(),
        }
    }
}

fn default_channel() -> String {
    "rates:latest".to_owned()
}

impl RedisPublisherConfig {
    /// Where documents go.
    pub(super) fn places(&self) -> Result<Places, ConfigError> {
        let mut error = ConfigError::default();
        let mut template =
            |key: &str, text: &str| error.take(Template::parse(text).map_err(|message| ConfigError::new(key, message)));
        let channel = template("channel", &self.channel);
        let hash = self.hash.as_deref().and_then(|text| template("hash", text));
        let key = self.key.as_deref().and_then(|text| template("key", text));
        if key.as_ref().is_some_and(|key| !key.names_the_pair()) {
            error.add("key", "must have {pair}, or all pairs would have one key");
        }
        let ttl = self.key_ttl.unwrap_or(KEY_TTL);
        if self.key_ttl.is_some() && self.key.is_none() {
            error.add("key_ttl", "is for key, which is not set");
        } else if ttl < SHORTEST_KEY_TTL {
            error.add("key_ttl", "must be at least 2s");
        }
        let Some(channel) = channel else { return Err(error) };
        error.or(Places { channel, hash, key: key.map(|name| Key { name, ttl }) })
    }
}
