use std::time::Duration;

use async_trait::async_trait;
use ratebus_model::Pair;
use ratebus_sdk::{
    AttemptBudget, ConfigError, Error,
    poll::{Exchange, Feed, HeaderMap, Rules},
};

/// An exchange that may be asked as often as one likes, so that no test waits for its limit.
#[derive(Debug)]
pub struct Unpaced<E>(E);

#[async_trait]
impl<E: Exchange> Exchange for Unpaced<E> {
    const TYPE: &'static str = E::TYPE;
    const ENDPOINT: Option<&'static str> = E::ENDPOINT;
    type Protocol = E::Protocol;

    fn new(protocol: Self::Protocol) -> Result<Self, ConfigError> {
        E::new(protocol).map(Self)
    }

    fn rules(&self) -> Rules {
        Rules { budget: AttemptBudget::new(1000, Duration::from_secs(1)), ..self.0.rules() }
    }

    fn headers(&self) -> HeaderMap {
        self.0.headers()
    }

    fn symbol(&self, pair: Pair) -> String {
        self.0.symbol(pair)
    }

    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        self.0.round(feed).await
    }
}
