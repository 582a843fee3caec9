use std::time::Duration;

use async_trait::async_trait;
use ratebus_model::{Limits, Pair};
use serde::de::DeserializeOwned;

use super::{Feed, HeaderMap};
use crate::{AttemptBudget, ConfigError, Error};

/// An exchange that is asked over HTTP again and again. A [`Poll`](super::Poll) of it is a source.
#[async_trait]
pub trait Exchange: Sized + Send + 'static {
    /// The type named by `use` in the config: `source/kraken-rest`.
    const TYPE: &'static str;

    /// Where it is, unless the config says otherwise; without it the config must.
    const ENDPOINT: Option<&'static str>;

    /// The keys of the config's table `protocol`, for what can be chosen in its protocol.
    type Protocol: DeserializeOwned + Default;

    /// # Errors
    /// Of keys below `protocol`, named from there: `protocol.ids`.
    fn new(protocol: Self::Protocol) -> Result<Self, ConfigError>;

    /// How often it is asked, and how old its prices may be.
    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// What every request says of us. Mark what is secret with [`set_sensitive`](super::HeaderValue::set_sensitive).
    fn headers(&self) -> HeaderMap {
        HeaderMap::new()
    }

    /// Its name of a pair, unless the config gives another. Each pair has one of its own.
    fn symbol(&self, pair: Pair) -> String {
        format!("{}/{}", pair.base(), pair.quote())
    }

    /// Asks for everything that is due now, and tells the feed what it hears.
    ///
    /// # Errors
    /// Why the round failed; what was told before stands. Its [`Retry`](crate::Retry) says when the next one is: `Backoff`
    /// after a jittered, growing wait, `After` not before that, `Never` ends the source. Dropping the future must do no
    /// harm.
    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error>;
}

/// How often an exchange is asked, and how old its prices may be; the config may say otherwise of `interval` and `limits`.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long after one round the next one starts.
    pub interval: Duration,
    /// When a rate is stale and dead.
    pub limits: Limits,
    /// The most bytes of an answer, unpacked.
    pub largest: usize,
    /// How many requests may be made in any window of so long; more wait.
    pub budget: AttemptBudget,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            limits: Limits { stale_after: Duration::from_secs(30), dead_after: Duration::from_secs(90) },
            largest: 8 << 20,
            budget: AttemptBudget::new(5, Duration::from_secs(5)),
        }
    }
}
