use std::{fmt, sync::Arc};

use ratebus_sdk::Error;

use crate::{broker::Broker, nats::Nats, redis::Redis};

/// A broker that a [`Link`](crate::Link) can connect to.
#[derive(Clone)]
pub struct Target(pub(crate) Arc<dyn Broker>);

impl Target {
    /// A Redis server (6 or later), at `redis://[user:password@]host[:port]` or, with TLS, `rediss://`.
    ///
    /// # Errors
    /// `Config` if the URL is not one.
    pub fn redis(url: &str) -> Result<Self, Error> {
        Ok(Self(Arc::new(Redis::new(url)?)))
    }

    /// A NATS server, at `nats://[user:password@]host[:port]` or, with TLS, `tls://`.
    ///
    /// # Errors
    /// `Config` if the URL is not one.
    pub fn nats(url: &str) -> Result<Self, Error> {
        Ok(Self(Arc::new(Nats::new(url)?)))
    }
}

/// What it holds may have a password in it.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}
