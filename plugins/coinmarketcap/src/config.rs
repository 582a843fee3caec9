use std::{collections::BTreeMap, path::PathBuf};

use ratebus_model::{Asset, Pair};
use ratebus_sdk::{ConfigError, poll::HeaderValue, private};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The table `protocol` of a `source/coinmarketcap`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// The key of the account there. It is better kept in a file.
    pub api_key: Option<SecretString>,
    /// A file with the key, readable by its owner alone.
    pub api_key_file: Option<PathBuf>,
    /// Which version of the API is asked: 3, 2 or 1. Answers are read by what they look like.
    pub version: u8,
    /// The numbers of coins there, by their codes: `BTC = 1`. Several coins share a code; without a number the first of them
    /// in `CoinMarketCap`'s ranking is taken.
    pub ids: BTreeMap<String, u64>,
    /// How many decimals a price is rounded to. They send 16 digits, most of which are noise.
    pub decimals: u32,
    /// The same for single pairs: `BTC_USD = 2`.
    pub pair_decimals: BTreeMap<String, u32>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            api_key: None,
            api_key_file: None,
            version: 3,
            ids: BTreeMap::new(),
            decimals: 8,
            pair_decimals: BTreeMap::new(),
        }
    }
}

/// What is found in a [`Protocol`].
pub(crate) struct Settings {
    pub(crate) key: SecretString,
    pub(crate) header: HeaderValue,
    pub(crate) version: u8,
    pub(crate) ids: BTreeMap<Asset, u64>,
    decimals: u32,
    pair_decimals: BTreeMap<Pair, u32>,
}

impl Settings {
    /// The most decimals: what is finer is no price of anything.
    const FINEST: u32 = 18;

    pub(crate) fn new(protocol: Protocol) -> Result<Self, ConfigError> {
        let Protocol { api_key, api_key_file, version, ids, decimals, pair_decimals } = protocol;
        let mut error = ConfigError::default();
        let key = error.take(key(api_key, api_key_file));
        if !(1..=3).contains(&version) {
            error.add("protocol.version", "must be 1, 2 or 3");
        }
        let ids = ids.into_iter().filter_map(|(code, id)| match code.parse::<Asset>() {
            Ok(asset) if id > 0 => Some((asset, id)),
            Ok(_) => error.take(Err(ConfigError::new(format!("protocol.ids.{code}"), "must be above zero"))),
            Err(invalid) => error.take(Err(ConfigError::new(format!("protocol.ids.{code}"), invalid.to_string()))),
        });
        let ids = ids.collect();
        let pair_decimals = pair_decimals.into_iter().filter_map(|(text, decimals)| {
            let key = format!("protocol.pair_decimals.{text}");
            match text.parse::<Pair>() {
                Ok(pair) => error.take(few(&key, decimals)).map(|decimals| (pair, decimals)),
                Err(invalid) => error.take(Err(ConfigError::new(key, invalid.to_string()))),
            }
        });
        let pair_decimals = pair_decimals.collect();
        error.take(few("protocol.decimals", decimals));
        let Some((key, header)) = key else { return Err(error) };
        error.or(Self { key, header, version, ids, decimals, pair_decimals })
    }

    /// How many decimals a price of `pair` has at most.
    pub(crate) fn decimals(&self, pair: Pair) -> u32 {
        self.pair_decimals.get(&pair).copied().unwrap_or(self.decimals)
    }
}

fn few(key: &str, decimals: u32) -> Result<u32, ConfigError> {
    let message = || format!("must be at most {}", Settings::FINEST);
    if decimals <= Settings::FINEST { Ok(decimals) } else { Err(ConfigError::new(key, message())) }
}

/// The key, and the header that shows it to nobody else.
fn key(given: Option<SecretString>, file: Option<PathBuf>) -> Result<(SecretString, HeaderValue), ConfigError> {
    let (name, key) = match (given, file) {
        (Some(_), Some(_)) => return Err(ConfigError::new("protocol.api_key_file", "there is also protocol.api_key")),
        (Some(key), None) => ("protocol.api_key", key),
        (None, Some(file)) => {
            let name = "protocol.api_key_file";
            (name, private::read_secret(&file).map_err(|why| ConfigError::new(name, why))?)
        }
        (None, None) => {
            return Err(ConfigError::new("protocol.api_key_file", "missing: a file with the account's key"));
        }
    };
    let unfit = || ConfigError::new(name, "is no key: only visible ASCII characters can be sent");
    let fits = !key.expose_secret().is_empty() && key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
    let mut header = HeaderValue::try_from(key.expose_secret()).ok().filter(|_| fits).ok_or_else(unfit)?;
    header.set_sensitive(true);
    Ok((key, header))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    fn keys(json: serde_json::Value) -> Vec<String> {
        match Settings::new(serde_json::from_value(json).unwrap()) {
            Ok(_) => Vec::new(),
            Err(error) => {
                assert!(!error.to_string().contains("s3cret"), "{error}");
                error.problems.into_iter().map(|problem| problem.key).collect()
            }
        }
    }

    #[test]
    fn every_wrong_key_is_named() {
        use serde_json::json;
        assert_eq!(keys(json!({"api_key": "s3cret", "ids": {"BTC": 1, "XBT": 1}})), [""; 0]);
        assert_eq!(keys(json!({})), ["protocol.api_key_file"]);
        assert_eq!(keys(json!({"api_key": "s3cret", "api_key_file": "k"})), ["protocol.api_key_file"]);
        for unfit in ["", "s3cret\n", "s3cret é"] {
            assert_eq!(keys(json!({"api_key": unfit})), ["protocol.api_key"]);
        }
        let wrong = json!({"api_key": "s3cret", "version": 4, "decimals": 19, "ids": {"BTC": 0, "?": 1},
            "pair_decimals": {"BTC_USD": 19, "BTCUSD": 1}});
        let expected = [
            "protocol.version",
            "protocol.ids.?",
            "protocol.ids.BTC",
            "protocol.pair_decimals.BTCUSD",
            "protocol.pair_decimals.BTC_USD",
            "protocol.decimals",
        ];
        let mut found = keys(wrong);
        found[1..3].sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_is_read_from_its_owner_s_file_and_shown_to_nobody() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"s3cret\n").unwrap();
        let protocol = Protocol { api_key_file: Some(file.path().into()), ..Protocol::default() };
        let settings = Settings::new(protocol.clone()).unwrap();
        assert_eq!(settings.key.expose_secret(), "s3cret");
        assert_eq!(settings.header, "s3cret");
        assert!(!format!("{:?} {:?}", settings.header, settings.key).contains("s3cret"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Settings::new(protocol).err().unwrap();
        assert!(error.problems[0].key == "protocol.api_key_file" && error.to_string().contains("chmod 600"), "{error}");
    }
}
