use std::{fmt, sync::Arc};

use ratebus_sdk::Error;

use crate::{authorities::Authorities, broker::Broker, nats::Nats, redis::Redis};

/// A broker that a [`Link`](crate::Link) can connect to.
#[derive(Clone)]
pub struct Target(pub(crate) Arc<dyn Broker>);

impl Target {
    /// A Redis server (6 or later), at `redis://[user:password@]host[:port]` or, with TLS, `rediss://`. With
    /// `authorities` it has to prove itself by one of them, else by a public one.
    ///
    /// # Errors
    /// `Config` if the URL is not one, or one without TLS though there are authorities.
    pub fn redis(url: &str, authorities: Option<&Authorities>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Redis::new(url, authorities)?)))
    }

    /// A NATS server, at `nats://[user:password@]host[:port]` or, with TLS, `tls://`. With `authorities`
    /// it has to prove itself by one of them, else by one that the system trusts.
    ///
    /// # Errors
    /// `Config` if the URL is not one.
    pub fn nats(url: &str, authorities: Option<&Authorities>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Nats::new(url, authorities)?)))
    }
}

/// What it holds may have a password in it.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}
