use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use ratebus_sdk::{ConfigError, is_loopback};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions,
    mysql::{MySqlConnectOptions, MySqlSslMode},
    postgres::{PgConnectOptions, PgSslMode},
};
use url::Url;

/// Where the database is: `sqlite://data/ratebus.db` (the path taken as it is written), or
/// `mysql://user:password@host:port/name`, `mariadb://…`, `postgres://…`, `postgresql://…`.
#[derive(Clone)]
pub struct DatabaseUrl {
    pub(super) target: Target,
    /// For people: without the password.
    shown: String,
    warning: Option<&'static str>,
}

#[derive(Clone)]
pub(super) enum Target {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

/// The parameters that a URL may have, by what they mean: how the connection is protected, and sockets.
const MYSQL: &[&[&str]] =
    &[&["ssl-mode", "sslmode"], &["ssl-ca", "sslca"], &["ssl-cert", "sslcert"], &["ssl-key", "sslkey"], &["socket"]];
const POSTGRES: &[&[&str]] = &[
    &["sslmode", "ssl-mode"],
    &["sslrootcert", "ssl-root-cert", "ssl-ca"],
    &["sslcert", "ssl-cert"],
    &["sslkey", "ssl-key"],
    &["host"],
];

const PLAIN: &str = "the connection to the database may be read and changed on its way: its URL asks for no TLS";
const UNVERIFIED: &str =
    "the connection to the database may lead to another server: its URL asks for no proof of the name";

impl DatabaseUrl {
    /// Reads the URL; `password` is used if it has none itself.
    ///
    /// # Errors
    /// What is wrong, by the keys `database` and `database_password`; never with the text, which may hold a password.
    pub fn new(text: &str, password: Option<&SecretString>) -> Result<Self, ConfigError> {
        match text.split_once("://") {
            Some(("sqlite", _)) if password.is_some() => {
                Err(ConfigError::new("database_password", "a SQLite file has none"))
            }
            Some(("sqlite", path))
                if !path.is_empty() && !path.starts_with(':') && !path.contains(['?', '#', '\0']) =>
            {
                Ok(Self { target: Target::Sqlite(path.into()), shown: text.to_owned(), warning: None })
            }
            Some(("mysql" | "mariadb" | "postgres" | "postgresql", _)) => Server::new(text, password)?.into_url(),
            _ => Err(wrong(
                "expected the URL of a database, such as \"sqlite://data/ratebus.db\", \"mysql://user@host/name\" or \
                 \"postgres://user@host/name\"",
            )),
        }
    }

    /// What is to be said at start of how little the connection is protected.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.warning
    }

    /// The file, if it is SQLite's.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.target {
            Target::Sqlite(path) => Some(path),
            _ => None,
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::new(text, None)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Without the password.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.shown).finish()
    }
}

fn wrong(message: impl Into<String>) -> ConfigError {
    ConfigError::new("database", message)
}

/// The URL of a server, taken apart.
struct Server {
    url: Url,
    host: String,
    password: Option<SecretString>,
}

impl Server {
    fn new(text: &str, password: Option<&SecretString>) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|error| wrong(format!("not a URL: {error}")))?;
        if url.password().is_some() && password.is_some() {
            return Err(ConfigError::new("database_password", "the URL of the database has a password already"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let server = Self { password: password.cloned(), host, url };
        let missing = if server.host.is_empty() && server.socket().is_none() {
            "host"
        } else if server.url.username().is_empty() {
            "user"
        } else if server.url.path().trim_matches('/').is_empty() {
            "name of the database"
        } else {
            return server.with_known_parameters();
        };
        Err(wrong(format!("the URL has no {missing}; expected \"{}://user@host/name\"", server.url.scheme())))
    }

    fn is_postgres(&self) -> bool {
        self.url.scheme().starts_with("postgres")
    }

    fn with_known_parameters(self) -> Result<Self, ConfigError> {
        let known = if self.is_postgres() { POSTGRES } else { MYSQL };
        let mut given: Vec<Option<String>> = vec![None; known.len()];
        for (key, _) in self.url.query_pairs() {
            let Some(meaning) = known.iter().position(|names| names.contains(&&*key)) else {
                let known = known.concat().join(", ");
                return Err(wrong(format!("the URL has an unknown parameter {key:?}; known are {known}")));
            };
            // The driver would take the last one, and what is checked here is the first.
            if let Some(before) = given[meaning].replace(key.clone().into_owned()) {
                return Err(wrong(format!("the URL has two parameters of one meaning, {before:?} and {key:?}")));
            }
        }
        if self.is_postgres() && self.parameter(&["host"]).is_some_and(|host| !host.starts_with('/')) {
            return Err(wrong("the parameter \"host\" is for the folder of a socket"));
        }
        Ok(self)
    }

    fn parameter(&self, names: &[&str]) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| names.contains(&&**key)).map(|(_, value)| value.into_owned())
    }

    /// A socket in the file system, which nobody else is at the other end of.
    fn socket(&self) -> Option<String> {
        let encoded = Some(self.host.clone()).filter(|host| host.to_ascii_lowercase().starts_with("%2f"));
        self.parameter(&["socket", "host"]).or(encoded)
    }

    fn is_local(&self) -> bool {
        self.socket().is_some() || is_loopback(&self.host)
    }

    fn into_url(self) -> Result<DatabaseUrl, ConfigError> {
        let proves_itself = self.password.is_some()
            || self.url.password().is_some()
            || self.parameter(&["ssl-cert", "sslcert"]).is_some();
        if !self.is_local() && !proves_itself {
            return Err(ConfigError::new(
                "database_password",
                "a database on another host needs a password: set database_password_file or database_password",
            ));
        }
        let asked = self.parameter(&["ssl-mode", "sslmode"]).map(|mode| mode.to_ascii_lowercase());
        let warning = if self.is_local() { None } else { asked.as_deref().and_then(warning) };
        let verify = asked.is_none() && !self.is_local();
        let password = self.password.as_ref().map(ExposeSecret::expose_secret);
        let unusable = |error: sqlx::Error| wrong(error.to_string());
        let target = if self.is_postgres() {
            let mut options = PgConnectOptions::from_url(&self.url).map_err(unusable)?.application_name("ratebus");
            if self.socket().is_none() {
                options = options.host(&self.host);
            }
            options = password.into_iter().fold(options, PgConnectOptions::password);
            Target::Postgres(Box::new(if verify { options.ssl_mode(PgSslMode::VerifyFull) } else { options }))
        } else {
            let mut options = MySqlConnectOptions::from_url(&self.url).map_err(unusable)?.host(&self.host);
            options = password.into_iter().fold(options, MySqlConnectOptions::password);
            Target::MySql(Box::new(if verify { options.ssl_mode(MySqlSslMode::VerifyIdentity) } else { options }))
        };
        Ok(DatabaseUrl { target, shown: self.shown(), warning })
    }

    fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{}@{host}{port}{}", self.url.scheme(), self.url.username(), self.url.path())
    }
}

fn warning(mode: &str) -> Option<&'static str> {
    match mode {
        "verify-full" | "verify_identity" => None,
        "require" | "required" | "verify-ca" | "verify_ca" => Some(UNVERIFIED),
        _ => Some(PLAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    fn problem(text: &str, password: Option<&str>) -> (String, String) {
        let error = DatabaseUrl::new(text, password.map(SecretString::from).as_ref()).err();
        let problem = error.unwrap_or_else(|| panic!("{text} is taken")).problems.remove(0);
        (problem.key, problem.message)
    }

    #[test]
    fn a_file_is_taken_as_it_is_written() {
        let url: DatabaseUrl = "sqlite://data/my %20 file.db".parse().unwrap();
        assert_eq!(url.file(), Some(Path::new("data/my %20 file.db")));
        for bad in ["sqlite://", "sqlite://:memory:", "sqlite://a?mode=ro", "sqlite:a", "oracle://x", ""] {
            assert_eq!(problem(bad, None).0, "database", "{bad}");
        }
        assert_eq!(problem("sqlite://a", Some("b")).0, "database_password");
    }

    #[test]
    fn what_a_url_lacks_is_named() {
        let message = |text| problem(text, Some("x")).1;
        assert!(message("postgres:///name").contains("no host"));
        assert!(message("mysql://localhost/name").contains("no user"));
        assert!(message("mariadb://me@localhost").contains("no name"));
        assert!(message("postgres://me@localhost/name?sslmod=require").contains("\"sslmod\""));
        assert!(message("postgres://me@localhost/name?sslmode=maybe").contains("maybe"));
        assert!(message("mysql://me@localhost:port/name").contains("port"));
        assert!(message("postgres://me@localhost/name?host=elsewhere").contains("socket"));
        assert_eq!(problem("mysql://me:one@localhost/name", Some("two")).0, "database_password");
    }

    #[test]
    fn no_parameter_is_given_twice() {
        for (url, named) in [
            ("postgres://me@db/name?sslmode=verify-full&ssl-mode=disable", "\"sslmode\" and \"ssl-mode\""),
            ("postgres://me@db/name?sslmode=verify-full&sslmode=disable", "\"sslmode\" and \"sslmode\""),
            ("postgres://me@db/name?ssl-ca=/a&host=/run&sslrootcert=/b", "\"ssl-ca\" and \"sslrootcert\""),
            ("postgres://me@db/name?host=/run/a&host=/run/b", "\"host\" and \"host\""),
            ("mysql://me@db/name?ssl-mode=verify_identity&sslmode=disabled", "\"ssl-mode\" and \"sslmode\""),
            ("mariadb://me@db/name?sslcert=/a&ssl%2Dcert=/b", "\"sslcert\" and \"ssl-cert\""),
        ] {
            let (key, message) = problem(url, Some("x"));
            assert!(key == "database" && message.contains(named), "{url}: {message}");
        }
        assert!(DatabaseUrl::new("mysql://me@db/name?ssl-mode=required&ssl-ca=/a", Some(&"x".into())).is_ok());
    }

    #[test]
    fn another_host_is_verified_and_needs_a_password() {
        assert_eq!(problem("mysql://me@db/name", None).0, "database_password");
        let verified = |text: &str| match DatabaseUrl::new(text, Some(&"x".into())).unwrap() {
            DatabaseUrl { target: Target::MySql(options), warning, .. } => {
                (matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity), warning)
            }
            DatabaseUrl { target: Target::Postgres(options), warning, .. } => {
                (matches!(options.get_ssl_mode(), PgSslMode::VerifyFull), warning)
            }
            DatabaseUrl { target: Target::Sqlite(_), .. } => unreachable!(),
        };
        for scheme in ["mysql", "mariadb", "postgres", "postgresql"] {
            assert_eq!(verified(&format!("{scheme}://me@db.example/name")), (true, None));
            assert_eq!(verified(&format!("{scheme}://me@[2001:db8::1]:99/name")), (true, None));
            for local in ["localhost", "127.0.0.2", "[::1]"] {
                assert_eq!(verified(&format!("{scheme}://me@{local}/name")), (false, None));
            }
        }
        assert_eq!(verified("mysql://me@db/name?ssl-mode=DISABLED"), (false, Some(PLAIN)));
        assert_eq!(verified("mysql://me@db/name?ssl-mode=required"), (false, Some(UNVERIFIED)));
        assert_eq!(verified("postgres://me@db/name?sslmode=prefer"), (false, Some(PLAIN)));
        assert_eq!(verified("postgres://me@%2Frun%2Fpostgresql/name"), (false, None));
        assert_eq!(verified("postgres://me@db/name?host=/run/postgresql"), (false, None));
    }

    #[test]
    fn the_password_is_never_shown() {
        for text in
            [format!("mysql://me:{CANARY}@db/name?ssl-mode=required"), format!("postgres://me:{CANARY}@[::1]/name")]
        {
            let url: DatabaseUrl = text.parse().unwrap();
            assert!(!format!("{url} {url:?}").contains(CANARY));
        }
        let url = DatabaseUrl::new("postgres://me@db/name", Some(&CANARY.into())).unwrap();
        assert!(!format!("{url} {url:?}").contains(CANARY));
        for bad in
            ["mysql://me:CANARY@", "postgres://me:CANARY@db:x/name", "mysql://me:CANARY@db/name?x=1", "me:CANARY@db"]
        {
            let (_, message) = problem(&bad.replace("CANARY", CANARY), None);
            assert!(!message.contains(CANARY), "{message}");
        }
    }
}
