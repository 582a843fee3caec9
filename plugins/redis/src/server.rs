//! A Redis server: where it is, how it proves who it is, and what its errors mean.

use std::{convert::Infallible, fs, path::Path, time::Duration};

use ratebus_sdk::{ConfigError, Error, ErrorKind, is_loopback, private};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError,
    TlsCertificates, aio::MultiplexedConnection,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

/// How long connecting may take, TLS and password included.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// The longest wait before connecting again: the server is our own.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A Redis server, 6 or later.
pub(crate) struct Server {
    client: Client,
    /// Whether it is on another machine and the way there is not encrypted.
    exposed: bool,
}

impl Server {
    /// At `redis://` or `rediss://` (TLS), with user, password and database in the URL; or the password in a file of its
    /// own. `ca_file` has the only authorities to trust; without it the public ones hold.
    pub(crate) fn new(
        url: &SecretString,
        password_file: Option<&Path>,
        ca_file: Option<&Path>,
        allow_insecure: bool,
    ) -> Result<Self, ConfigError> {
        let problem = |message: &str| ConfigError::new("url", message);
        // The errors may quote the URL.
        let expected = || problem("expected a URL such as redis://user:password@host:6379/0, or rediss:// with TLS");
        let mut url = Url::parse(url.expose_secret()).map_err(|_| expected())?;
        if let Some(file) = password_file {
            private::add_password(&mut url, file).map_err(|why| ConfigError::new("password_file", why))?;
        }
        let exposed = check_exposure(&url, allow_insecure).map_err(problem)?;
        let info: ConnectionInfo = url.as_str().into_connection_info().map_err(|_| expected())?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings);
        let client = match ca_file {
            None => Client::open(info).map_err(|_| expected())?,
            Some(_) if url.scheme() != "rediss" => {
                return Err(ConfigError::new("ca_file", "is for rediss:// and the url is redis://"));
            }
            Some(path) => {
                trusting(info, path).map_err(|why| ConfigError::new("ca_file", format!("{}: {why}", path.display())))?
            }
        };
        Ok(Self { client, exposed })
    }

    /// Says what the config lets pass: it is checked before there is a log.
    pub(crate) fn warn(&self) {
        if self.exposed {
            tracing::warn!("the way to Redis is not encrypted: rediss:// would be");
        }
    }

    /// A connection; what the server sends unasked goes to `push`, which must not block.
    ///
    /// # Errors
    /// `Auth` for a password that is refused, `Stalled` for a server that does not answer, else `Connect`.
    pub(crate) async fn connect(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, Error> {
        let push = move |info| {
            push(info);
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(push);
        match timeout(CONNECT, self.client.get_multiplexed_async_connection_with_config(&config)).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(Error::new(ErrorKind::Stalled, "Redis does not answer")),
        }
    }
}

/// Asks whether the server is still there.
pub(crate) async fn ping(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    redis::cmd("PING").exec_async(connection).await.map_err(failed)
}

/// What an error of Redis is to us.
pub(crate) fn failed(error: RedisError) -> Error {
    let kind = match error.kind() {
        redis::ErrorKind::AuthenticationFailed => ErrorKind::Auth,
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => ErrorKind::Auth,
        _ if error.is_timeout() => ErrorKind::Stalled,
        _ => ErrorKind::Connect,
    };
    Error::new(kind, "Redis").because(error)
}

/// Anybody on the network can speak to a Redis without a password, and hear one without TLS: whether that is so.
fn check_exposure(url: &Url, allow_insecure: bool) -> Result<bool, &'static str> {
    let secure = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err("expected a URL that starts with redis:// or rediss://"),
    };
    if url.fragment().is_some() {
        return Err("must not have a fragment (#): a server's certificate is always verified");
    }
    if url.host_str().is_some_and(is_loopback) {
        return Ok(false);
    }
    if url.password().is_none_or(str::is_empty) && !allow_insecure {
        return Err(
            "a Redis on another machine needs a password, in the URL or in password_file, or allow_insecure = true",
        );
    }
    Ok(!secure)
}

fn trusting(info: ConnectionInfo, ca_file: &Path) -> Result<Client, String> {
    let pem = fs::read(ca_file).map_err(|error| error.to_string())?;
    if CertificateDer::pem_slice_iter(&pem).next().is_none() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(info, certificates).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, ca_file: Option<&str>, allow_insecure: bool) -> Option<(String, String)> {
        let error = Server::new(&url.into(), None, ca_file.map(Path::new), allow_insecure).err()?;
        let problem = error.problems.into_iter().next().unwrap();
        Some((problem.key, problem.message))
    }

    #[test]
    fn a_server_elsewhere_needs_a_password() {
        for url in [
            "redis://127.0.0.1:6379",
            "redis://localhost/3",
            "rediss://[::1]",
            "redis://:secret@10.0.0.1",
            "rediss://user:secret@redis.example:6380/1",
        ] {
            assert_eq!(problem(url, None, false), None, "{url}");
        }
        for url in ["redis://redis.example", "rediss://10.0.0.1", "redis://user@10.0.0.1", "redis://127.0.0.1.example"]
        {
            let (key, message) = problem(url, None, false).unwrap();
            assert!(key == "url" && message.contains("needs a password"), "{url}: {message}");
            assert_eq!(problem(url, None, true), None, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_quoting_it() {
        for url in [
            "",
            "secret",
            "http://secret@127.0.0.1",
            "redis+unix:///secret",
            "redis://secret@127.0.0.1/secret",
            "rediss://u:secret@redis.example/#insecure",
            "redis://:secret@0.0.0.0",
        ] {
            let (key, message) = problem(url, None, true).unwrap();
            assert!(key == "url" && !message.contains("secret"), "{url}: {message}");
        }
    }

    #[test]
    fn authorities_are_read_from_a_file_that_has_some() {
        for file in ["/nonexistent/ca.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            assert_eq!(problem("rediss://localhost", Some(file), false).unwrap().0, "ca_file");
        }
        let (key, message) = problem("redis://localhost", Some("/nonexistent/ca.pem"), false).unwrap();
        assert!(key == "ca_file" && message.contains("rediss://"), "{message}");
    }
}
