use std::path::PathBuf;

use ratebus_link::{Authorities, Keys, Target};
use ratebus_model::Pattern;
use ratebus_sdk::{is_loopback, private};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// The fewest bytes of a key that messages are signed with: as long as the code.
const SHORTEST_KEY: usize = 32;
/// What travels between processes unless the config says otherwise.
const SHARED: [&str; 6] = ["rates.>", "pairs.>", "quotes.>", "health.>", "changes.>", "explain.>"];
/// What goes out and does not come in: the database is the truth about spreads.
const TOLD: [&str; 1] = ["spreads.>"];

/// `[bus]`: what carries messages between processes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Which broker.
    pub backend: Backend,
    /// Where it is: `redis://`, `rediss://`, `nats://` or `tls://`, with user and password. By default on this machine, at
    /// the broker's own port.
    pub url: Option<SecretString>,
    /// A file with the broker's password, if the URL has none; without a user in the URL, of NATS its token.
    pub password_file: Option<PathBuf>,
    /// A file with the certificate authorities, in PEM form, that a broker with TLS has to prove itself by; without it, a
    /// public one.
    pub ca_file: Option<PathBuf>,
    /// A file with the keys that messages are signed with, one in each line; the first one signs, and all of them are good.
    /// The same for all processes. Without it nothing is signed.
    pub keys_file: Option<PathBuf>,
    /// Whether a broker on another machine may do without a password.
    pub allow_insecure: bool,
    /// What goes out.
    pub exports: Option<Vec<Pattern>>,
    /// What comes in.
    pub imports: Option<Vec<Pattern>>,
}

/// A broker that carries messages between processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// None: everything in one process.
    #[default]
    Memory,
    /// Redis 6 or later.
    Redis,
    /// NATS, core protocol.
    Nats,
}

/// `[role.<name>] bus.…`: what differs from `[bus]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleBus {
    /// Replaces `bus.backend`.
    pub backend: Option<Backend>,
    /// Replaces `bus.url`.
    pub url: Option<SecretString>,
    /// Replaces `bus.password_file`.
    pub password_file: Option<PathBuf>,
    /// Replaces `bus.ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Replaces `bus.exports`.
    pub exports: Option<Vec<Pattern>>,
    /// Replaces `bus.imports`.
    pub imports: Option<Vec<Pattern>>,
}

/// A [`Bus`] that was checked.
#[derive(Clone)]
pub struct LinkPlan {
    /// What is to be said at the start of how little the way is protected: a config is read before there is a log.
    pub(crate) warning: Option<&'static str>,
    pub(crate) target: Target,
    pub(crate) keys: Keys,
    pub(crate) exports: Vec<Pattern>,
    pub(crate) imports: Vec<Pattern>,
}

/// What is wrong, under which key of `[bus]`.
pub(super) type Fault = (&'static str, String);

impl Bus {
    /// With what a role says otherwise.
    pub(super) fn under(&self, role: &RoleBus) -> Self {
        let (all, role) = (self.clone(), role.clone());
        Self {
            backend: role.backend.unwrap_or(all.backend),
            url: role.url.or(all.url),
            password_file: role.password_file.or(all.password_file),
            ca_file: role.ca_file.or(all.ca_file),
            exports: role.exports.or(all.exports),
            imports: role.imports.or(all.imports),
            ..all
        }
    }

    /// How processes are joined; `None` if they are not.
    pub(super) fn plan(&self) -> Result<Option<LinkPlan>, Fault> {
        // Where brokers listen that were told nothing.
        let (schemes, here) = match self.backend {
            Backend::Memory => return Ok(None),
            Backend::Redis => (["redis", "rediss"], "redis://127.0.0.1:6379"),
            Backend::Nats => (["nats", "tls"], "nats://127.0.0.1:4222"),
        };
        let [plain, secure] = schemes;
        let expected =
            || ("url", format!("expected the broker's URL, {plain}://… or {secure}://…, for the backend {plain}"));
        let text = self.url.as_ref().map_or(here, ExposeSecret::expose_secret);
        // The Redis client takes `#insecure` for a wish to believe any certificate.
        let is_ours = |url: &Url| schemes.contains(&url.scheme()) && url.fragment().is_none();
        let mut url = Url::parse(text).ok().filter(is_ours).ok_or_else(expected)?;
        if let Some(file) = &self.password_file {
            private::add_password(&mut url, file).map_err(|why| ("password_file", why))?;
        }
        let warning = self.check_exposure(&url, secure)?;
        let authorities = self.authorities(&url, secure)?;
        let target = match self.backend {
            Backend::Nats => Target::nats(url.as_str(), authorities.as_ref()),
            _ => Target::redis(url.as_str(), authorities.as_ref()),
        };
        let patterns = |given: &Option<Vec<Pattern>>, usual: &[&str]| {
            given.clone().unwrap_or_else(|| usual.iter().filter_map(|text| text.parse().ok()).collect())
        };
        Ok(Some(LinkPlan {
            warning,
            // The error may quote the URL.
            target: target.map_err(|_| expected())?,
            keys: self.keys()?,
            exports: patterns(&self.exports, &[&SHARED[..], &TOLD[..]].concat()),
            imports: patterns(&self.imports, &SHARED),
        }))
    }

    /// Anybody on the network can speak to a broker without a password, and hear one without TLS.
    fn check_exposure(&self, url: &Url, secure: &str) -> Result<Option<&'static str>, Fault> {
        if url.host_str().is_some_and(is_loopback) {
            return Ok(None);
        }
        if url.username().is_empty() && url.password().is_none() && !self.allow_insecure {
            let message = "a broker on another machine needs a password, in the URL or in password_file, or allow_insecure = true";
            return Err(("url", message.to_owned()));
        }
        Ok((url.scheme() != secure).then_some("the way to the broker is not encrypted: its URL asks for no TLS"))
    }

    fn authorities(&self, url: &Url, secure: &str) -> Result<Option<Authorities>, Fault> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        if url.scheme() != secure {
            return Err(("ca_file", format!("is for TLS: expected {secure}://… in bus.url")));
        }
        Authorities::read(path).map(Some).map_err(|error| ("ca_file", error.to_string()))
    }

    fn keys(&self) -> Result<Keys, Fault> {
        let Some(path) = &self.keys_file else { return Ok(Keys::default()) };
        let text = private::read_secret(path).map_err(|why| ("keys_file", why))?;
        let lines = text.expose_secret().lines().map(str::trim_ascii_end).filter(|line| !line.is_empty());
        let keys: Vec<&[u8]> = lines.map(str::as_bytes).collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < SHORTEST_KEY) {
            let shown = path.display();
            return Err((
                "keys_file",
                format!("{shown}: expected at least {SHORTEST_KEY} random characters in each line"),
            ));
        }
        Ok(Keys::new(keys))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    fn bus(backend: Backend, url: &str) -> Bus {
        Bus { backend, url: Some(url.into()), ..Bus::default() }
    }

    #[test]
    fn a_broker_elsewhere_needs_a_password() {
        let planned = |backend, url| bus(backend, url).plan().map(|plan| plan.is_some());
        assert_eq!(bus(Backend::Memory, "").plan().map(|plan| plan.is_some()), Ok(false));
        for (backend, url) in [
            (Backend::Redis, "redis://127.0.0.1:6379"),
            (Backend::Redis, "redis://localhost"),
            (Backend::Redis, "rediss://user:secret@redis.example"),
            (Backend::Redis, "redis://:secret@10.0.0.1:6379"),
            (Backend::Nats, "nats://[::1]:4222"),
            (Backend::Nats, "tls://token@nats.example"),
        ] {
            assert_eq!(planned(backend, url), Ok(true), "{url}");
        }
        for (backend, url) in [
            (Backend::Redis, "redis://redis.example"),
            (Backend::Redis, "redis://127.0.0.1.example"),
            (Backend::Nats, "tls://10.0.0.1"),
            (Backend::Nats, "redis://127.0.0.1"),
            (Backend::Redis, "rediss://127.0.0.1/#insecure"),
            (Backend::Redis, "127.0.0.1:6379"),
            (Backend::Redis, ""),
        ] {
            let (key, message) = planned(backend, url).unwrap_err();
            assert!(key == "url" && (url.is_empty() || !message.contains(url)), "{url}: {message}");
            let open = Bus { allow_insecure: true, ..bus(backend, url) };
            assert_eq!(open.plan().is_ok(), message.contains("allow_insecure"), "{url}");
        }
    }

    #[test]
    fn a_file_of_authorities_that_cannot_be_used_is_a_problem_of_its_key() {
        let no_certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (backend, url, path) in [
            (Backend::Redis, "rediss://localhost", "/nonexistent/ca.pem"),
            (Backend::Nats, "tls://localhost", no_certificate),
            (Backend::Redis, "redis://localhost", no_certificate),
            (Backend::Nats, "nats://localhost", no_certificate),
        ] {
            let plan = Bus { ca_file: Some(path.into()), ..bus(backend, url) }.plan();
            assert_eq!(plan.map(|_| ()).unwrap_err().0, "ca_file", "{url} {path}");
        }
    }

    #[test]
    fn a_password_may_have_a_file_of_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "canary/7f3a\n").unwrap();
        let planned = |url: &str, mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let password_file = Some(file.path().to_owned());
            Bus { password_file, ..bus(Backend::Redis, url) }.plan().map(|plan| plan.is_some())
        };
        assert_eq!(planned("redis://redis.example", 0o600), Ok(true));
        for (url, mode) in [("redis://:another@redis.example", 0o600), ("redis://redis.example", 0o640)] {
            let (key, message) = planned(url, mode).unwrap_err();
            assert!(key == "password_file" && !message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn a_role_may_have_a_broker_of_its_own() {
        let all = Bus { allow_insecure: true, ..bus(Backend::Memory, "redis://redis.example") };
        let planned = |role: RoleBus| all.under(&role).plan().map(|plan| plan.is_some());
        assert_eq!(planned(RoleBus::default()), Ok(false));
        assert_eq!(planned(RoleBus { backend: Some(Backend::Redis), ..RoleBus::default() }), Ok(true));
        let nats = RoleBus { backend: Some(Backend::Nats), ..RoleBus::default() };
        assert_eq!(planned(nats.clone()).unwrap_err().0, "url");
        assert_eq!(planned(RoleBus { url: Some("nats://nats.example".into()), ..nats }), Ok(true));
        let here = Bus { backend: Backend::Nats, ..Bus::default() };
        assert!(here.plan().is_ok_and(|plan| plan.is_some()));
    }

    #[test]
    fn keys_are_long_and_private() {
        let planned = |content: &str, mode| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            write!(file, "{content}").unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let keys_file = Some(file.path().to_owned());
            let plan = Bus { keys_file, ..bus(Backend::Redis, "redis://localhost") }.plan();
            plan.map(|plan| plan.is_some())
        };
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(planned(good, 0o600), Ok(true));
        assert_eq!(planned(&format!("{good}\n\n{good}2 \r\n"), 0o400), Ok(true));
        for (content, mode) in [(good, 0o644), ("", 0o600), ("secret", 0o600), (&format!("{good}\nsecret"), 0o600)] {
            let (key, message) = planned(content, mode).unwrap_err();
            assert!(key == "keys_file" && (content.is_empty() || !message.contains(content)), "{message}");
        }
    }
}
