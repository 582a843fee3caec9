use std::{path::PathBuf, time::Duration};

use ratebus_sdk::{ConfigError, Env, private};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    accounts::{HashCost, Limits, MOST_FAILURES, PasswordPolicy, SHORTEST_PASSWORD, signing_key_problem},
    store::DatabaseUrl,
};

/// The longest life of a token of the original's login: 30 days.
const LONGEST_TTL: Duration = Duration::from_hours(30 * 24);
/// The longest life of an access token, and the one it has by default.
const LONGEST_ACCESS_TTL: Duration = Duration::from_mins(15);

/// The plugin's part of the config.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the listener that the routes are mounted on.
    pub listener: String,
    /// Which groups of routes are served.
    pub routes: Vec<Group>,
    /// Where accounts and spreads are kept; only opened for their groups. The URL of a server may have a password.
    #[serde(default = "default_database")]
    pub database: SecretString,
    /// The password of a database server, if it is not in the URL.
    pub database_password: Option<SecretString>,
    /// A file with the password of a database server, readable by its owner alone.
    pub database_password_file: Option<PathBuf>,
    /// Whether pending migrations are run at start. By default those of a file are, and those of a server are not.
    pub migrate: Option<bool>,
    /// How long a login of the original's `/login` lasts.
    #[serde(default = "default_token_ttl", with = "ratebus_sdk::duration")]
    pub token_ttl: Duration,
    /// How long an access token of `/v1/auth` lasts before it has to be refreshed; at most 15 minutes.
    #[serde(default = "default_access_token_ttl", with = "ratebus_sdk::duration")]
    pub access_token_ttl: Duration,
    /// The key that tokens are signed with, made at the first start. By default `jwt.key` beside the database. A file
    /// with several lines has a key in each: the first one signs, and tokens of all of them are good.
    pub signing_key_file: Option<PathBuf>,
    /// The shortest password that can be registered, in characters; at least 8.
    #[serde(default = "default_min_password")]
    pub min_password: usize,
    /// The shortest password that an administrator can choose, or be given at the command line; at least `min_password`.
    /// By default 15, or `min_password` if that is more.
    pub min_admin_password: Option<usize>,
    /// What a hash of a password costs. One that was stored with another cost is made anew at the next login.
    #[serde(default)]
    pub password_hash: HashCost,
    /// How many logins to an account may fail in a row, from one address, before it has to wait; at most 100.
    #[serde(default = "default_login_attempts")]
    pub login_attempts: u32,
    /// How many accounts an address may ask for in an hour.
    #[serde(default = "default_registrations_per_hour")]
    pub registrations_per_hour: u32,
    /// How far a spread may move a price, in percent of it: what is further is a typing mistake.
    #[serde(default = "default_max_markup_percent")]
    pub max_markup_percent: u32,
    /// How many requests for rates may wait for a change at once.
    #[serde(default = "default_max_waiting")]
    pub max_waiting: usize,
}

impl Config {
    /// Whether its routes need the database.
    pub fn has_database(&self) -> bool {
        self.routes.iter().any(|group| matches!(group, Group::Accounts | Group::Spreads))
    }

    /// Where the database is, with its password.
    ///
    /// # Errors
    /// What is wrong with `database`, `database_password` or `database_password_file`, without what they hold.
    pub fn database(&self) -> Result<DatabaseUrl, ConfigError> {
        let password = match (&self.database_password, &self.database_password_file) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(
                    "database_password_file",
                    "there is a database_password too: give one of them",
                ));
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => {
                Some(private::read_secret(file).map_err(|why| ConfigError::new("database_password_file", why))?)
            }
            (None, None) => None,
        };
        DatabaseUrl::new(self.database.expose_secret(), password.as_ref())
    }
}

/// A group of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Raw rates, the `exchange-rate` role's contract: `/`, `/rates/{pair}` and `/v1`. Excludes `quotes`.
    Rates,
    /// Rates with the spread, the `user-api` role's: `/`, `/rates`, `/rates/{pair}` and `/v1`. Excludes `rates`.
    Quotes,
    /// `/health` as the original had it.
    Health,
    /// `/register`, `/login`, `/logout`, `/v1/auth`, `/v1/me` and `/v1/users`.
    Accounts,
    /// `/settings/update-rates` and `/v1/spreads`.
    Spreads,
    /// The page at `/ws-test/`.
    Page,
    /// `/docs/`, `/openapi.json` and, beside `quotes`, `/asyncapi.json`.
    Docs,
}

fn default_database() -> SecretString {
    "sqlite://data/ratebus.db".into()
}

fn default_token_ttl() -> Duration {
    Duration::from_hours(5)
}

fn default_access_token_ttl() -> Duration {
    LONGEST_ACCESS_TTL
}

fn default_min_password() -> usize {
    SHORTEST_PASSWORD
}

fn default_login_attempts() -> u32 {
    5
}

fn default_registrations_per_hour() -> u32 {
    10
}

fn default_max_markup_percent() -> u32 {
    50
}

const fn default_max_waiting() -> usize {
    1000
}

/// A [`Config`] that was checked.
pub(crate) struct Settings {
    pub(crate) listener: String,
    pub(crate) routes: Vec<Group>,
    pub(crate) max_waiting: usize,
    /// What accounts and spreads need, where they are served.
    pub(crate) backend: Option<BackendSettings>,
}

/// What accounts and spreads need.
#[derive(Debug, Clone)]
pub(crate) struct BackendSettings {
    pub(crate) database: DatabaseUrl,
    pub(crate) migrate: bool,
    pub(crate) token_ttl: Duration,
    pub(crate) access_token_ttl: Duration,
    pub(crate) signing_key_file: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) passwords: PasswordPolicy,
    pub(crate) max_markup_percent: u32,
}

impl Settings {
    /// Whether the routes of a group are served.
    pub(crate) fn serves(&self, group: Group) -> bool {
        self.routes.contains(&group)
    }

    /// Checks everything; all problems are reported at once.
    pub(crate) fn new(config: Config, env: &Env) -> Result<Self, ConfigError> {
        let mut errors = ConfigError::default();
        errors.take(env.listener("listener", &config.listener));
        check_routes(&config.routes, &mut errors);
        if config.routes.contains(&Group::Accounts) {
            env.offers_sessions();
        }
        if config.token_ttl.as_secs() == 0 || config.token_ttl > LONGEST_TTL {
            errors.add("token_ttl", "expected between 1s and 720h");
        }
        if config.access_token_ttl.as_secs() == 0 || config.access_token_ttl > LONGEST_ACCESS_TTL {
            errors.add("access_token_ttl", "expected between 1s and 15m");
        }
        let passwords = errors.take(PasswordPolicy::of(&config)).unwrap_or_default();
        if !(1..=MOST_FAILURES).contains(&config.login_attempts) {
            errors.add("login_attempts", format!("expected between 1 and {MOST_FAILURES}"));
        }
        if config.registrations_per_hour == 0 {
            errors.add("registrations_per_hour", "expected at least 1");
        }
        if config.max_waiting == 0 {
            errors.add("max_waiting", "expected at least 1");
        }
        let database = if config.has_database() { errors.take(config.database()) } else { None };
        let backend = database.map(|database| BackendSettings {
            signing_key_file: config.signing_key_file.unwrap_or_else(|| {
                database.file().map_or_else(|| "data/jwt.key".into(), |file| file.with_file_name("jwt.key"))
            }),
            migrate: config.migrate.unwrap_or(database.file().is_some()),
            token_ttl: config.token_ttl,
            access_token_ttl: config.access_token_ttl,
            limits: Limits {
                login_attempts: config.login_attempts,
                registrations_per_hour: config.registrations_per_hour,
            },
            passwords,
            max_markup_percent: config.max_markup_percent,
            database,
        });
        if let Some(backend) = &backend {
            check_files(backend, &mut errors);
        }
        let Config { listener, routes, max_waiting, .. } = config;
        errors.or(Self { listener, routes, max_waiting, backend })
    }
}

/// Files that are there already and cannot be used as they are.
fn check_files(backend: &BackendSettings, errors: &mut ConfigError) {
    if let Some(problem) = backend.database.file().and_then(private::problem) {
        errors.add("database", problem);
    }
    if let Some(problem) = signing_key_problem(&backend.signing_key_file) {
        errors.add("signing_key_file", problem);
    }
}

fn check_routes(routes: &[Group], errors: &mut ConfigError) {
    if routes.is_empty() {
        errors.add("routes", "expected at least one group of routes");
    }
    for (index, group) in routes.iter().enumerate() {
        if routes[..index].contains(group) {
            errors.add(format!("routes.{index}"), "named twice");
        }
    }
    if routes.contains(&Group::Rates) && routes.contains(&Group::Quotes) {
        errors.add("routes", "\"rates\" and \"quotes\" have the same paths: choose one of them");
    }
}
