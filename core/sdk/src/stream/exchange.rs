use std::{collections::HashMap, ops::Range, time::Duration};

use ratebus_model::{Pair, Tick, Timestamp};
use serde::de::DeserializeOwned;

use crate::{
    ConfigError,
    feed::{Decode, FeedEvent},
};

/// How an exchange speaks over its WebSocket. A [`Stream`](crate::stream::Stream) of it is a source.
///
/// It is read from the config's table `protocol`: its fields are what can be chosen there, most often nothing. Derive
/// `Deserialize` with `#[serde(deny_unknown_fields)]`.
pub trait Exchange: DeserializeOwned + Default + Send + Sync + 'static {
    /// The type named by `use` in the config: `source/kraken`.
    const TYPE: &'static str;

    /// Where it is, unless the config says otherwise; without it the config must.
    const ENDPOINT: Option<&'static str>;

    /// Whether what was chosen makes sense together.
    ///
    /// # Errors
    /// Of keys by their full name: `protocol.channel`.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// What silence means, and how much may be asked.
    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// Its name of a pair, unless the config gives another.
    fn symbol(&self, pair: Pair) -> String;

    /// Reads its frames.
    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode>;

    /// The message that asks for the prices of these, at most [`Rules::symbols_per_message`] of them. Each message has a
    /// number of its own, which answers may repeat.
    fn subscribe(&self, request: u64, symbols: &[&str]) -> String;

    /// The message that ends that. None where subscribing a second time is enough to get a price anew.
    fn unsubscribe(&self, request: u64, symbols: &[&str]) -> Option<String> {
        let _ = (request, symbols);
        None
    }

    /// The message that is answered whatever the market does.
    fn keepalive(&self, request: u64) -> Option<String> {
        let _ = request;
        None
    }
}

/// What silence on an exchange's connection means, and how much may be asked of it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What proves that the feed lives.
    pub liveness: Liveness,
    /// How often the keepalive is sent; by default every 20 s, or every half `stall_after` where answers are the proof.
    pub keepalive_every: Option<Duration>,
    /// How many symbols one message may ask for. Few large messages are better than many: clients that sent one per
    /// symbol were throttled and silently got a part.
    pub symbols_per_message: usize,
    /// How many of these messages may go out in a second; more wait.
    pub messages_per_second: usize,
    /// How many symbols a connection may carry.
    pub most_symbols: usize,
    /// How often silent pairs may be asked for anew. None where that brings no price: there, signs of life vouch for a
    /// silent pair no longer than `audit_after`, and a connection on which no pair has a price for as long is made anew.
    pub audit_every: Option<Duration>,
    /// Whether the first price after a subscription is the state of now, however old its own time. For exchanges that
    /// send one and do not mark it.
    pub first_tick_is_snapshot: bool,
    /// Whether a price acknowledges its subscription, where nothing else does.
    pub acknowledged_by_data: bool,
    /// At what age, drawn at random, a connection is replaced before the exchange cuts it.
    pub rotate_after: Option<Range<Duration>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            liveness: Liveness::Heartbeats,
            keepalive_every: None,
            symbols_per_message: 100,
            messages_per_second: 20,
            most_symbols: usize::MAX,
            audit_every: Some(Duration::from_secs(1)),
            first_tick_is_snapshot: false,
            acknowledged_by_data: false,
            rotate_after: None,
        }
    }
}

/// What proves that a feed lives, so that a quiet market can be told from a dead connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The feed speaks all the time, by heartbeats of its own. An answer to a keepalive proves nothing: connections have
    /// been seen that answer and are dead otherwise.
    Heartbeats,
    /// The feed is silent while nothing changes. So the keepalive is sent all the time, and its answer stands for "all is
    /// as it was".
    Answers,
}

/// The pairs by the exchange's names. Exact names only: `AAPLx/USD` and `AAPLX/USD` would be two things.
#[derive(Debug, Clone, Default)]
pub struct Symbols(HashMap<String, Pair>);

impl Symbols {
    /// The pair of that name.
    pub fn pair(&self, symbol: &str) -> Option<Pair> {
        self.0.get(symbol).copied()
    }

    /// A price with two sides, as the exchange wrote them.
    pub fn tick<'f>(&self, symbol: &str, bid: &'f str, ask: &'f str, event_time: Option<Timestamp>) -> FeedEvent<'f> {
        let Some(pair) = self.pair(symbol) else { return FeedEvent::Unused("unknown_symbol") };
        let (bid, ask) = (Some(bid), Some(ask));
        FeedEvent::Tick(Tick { pair, bid, ask, reference: None, event_time, snapshot: false })
    }
}

impl FromIterator<(String, Pair)> for Symbols {
    fn from_iter<I: IntoIterator<Item = (String, Pair)>>(symbols: I) -> Self {
        Self(symbols.into_iter().collect())
    }
}

/// A decoder that knows these pairs by their usual names, for a [`DecoderEntry`](crate::feed::DecoderEntry).
pub fn decoder<E: Exchange>(pairs: &[Pair]) -> Box<dyn Decode> {
    let exchange = E::default();
    exchange.decoder(pairs.iter().map(|&pair| (exchange.symbol(pair), pair)).collect())
}
