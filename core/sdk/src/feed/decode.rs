use std::{borrow::Cow, fmt};

use ratebus_model::{Market, Pair, Tick};

use super::json::Text;

/// What one frame of an exchange means. Texts are borrowed from the frame where they can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEvent<'f> {
    /// A price.
    Tick(Tick<'f>),
    /// The feed is alive and everything subscribed is unchanged.
    Heartbeat,
    /// The feed of one pair is alive, and the pair is unchanged.
    Alive(Pair),
    /// The exchange's market changed its state.
    Market(Market),
    /// A subscription was acknowledged.
    Subscribed {
        /// The request it answers, if it says so.
        request: Option<u64>,
        /// The exchange's name of the pair.
        symbol: Cow<'f, str>,
    },
    /// All that a request asked for was acknowledged at once.
    Accepted {
        /// The request.
        request: u64,
    },
    /// All that is subscribed on this connection, and no more.
    Held {
        /// The exchange's names of the pairs.
        symbols: Vec<Cow<'f, str>>,
    },
    /// A subscription was refused.
    Refused {
        /// The request it answers, if it says so.
        request: Option<u64>,
        /// The exchange's name of the pair, if it says so.
        symbol: Option<Cow<'f, str>>,
        /// The exchange's words.
        reason: Cow<'f, str>,
        /// Whether asking again is pointless.
        permanent: bool,
    },
    /// We sent too many messages: some were lost, and more would be.
    Throttled,
    /// The exchange asks us to connect again.
    Reconnect,
    /// An answer to our ping. It proves the socket, not the feed.
    Pong,
    /// Something this version does not use; the word is for counting and comes from a fixed set.
    Unused(&'static str),
}

impl<'f> FeedEvent<'f> {
    /// A refusal in the exchange's words: for good if they name a symbol that it does not have, otherwise for now.
    pub fn refused(unknown_symbol: Option<String>, words: Option<Text<'f>>) -> Self {
        let reason = words.map_or(Cow::Borrowed("no reason given"), |Text(words)| words);
        let (permanent, symbol) = (unknown_symbol.is_some(), unknown_symbol.map(Cow::Owned));
        Self::Refused { request: None, symbol, reason, permanent }
    }
}

/// Reads an exchange's frames. Keeps what little state its protocol needs, and does no I/O.
pub trait Decode: Send {
    /// Appends what `frame` means to `events`.
    ///
    /// # Errors
    /// The frame is not of the protocol. Events appended before the fault stand.
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError>;

    /// The frames to come are of a new connection: what was true of the last one, such as its order, holds no more.
    fn connected(&mut self) {}
}

/// Why a frame could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// An exchange's decoder under its name, for sources that read recordings.
#[derive(Clone, Copy)]
pub struct DecoderEntry {
    /// The exchange: `kraken`.
    pub exchange: &'static str,
    /// Makes a decoder that knows these pairs and drops all others.
    pub make: fn(&[Pair]) -> Box<dyn Decode>,
}

impl fmt::Debug for DecoderEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.exchange)
    }
}
