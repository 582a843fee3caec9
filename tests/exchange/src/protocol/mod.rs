//! How exchanges speak: what they say unasked, how they read a request, and how they answer it. Prices are put in as text,
//! so that any number or nonsense can be sent.

mod binance;
mod bitstamp;
mod coinbase;
mod kraken;
mod okx;

use std::collections::BTreeSet;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub use self::{binance::Binance, bitstamp::Bitstamp, coinbase::Coinbase, kraken::Kraken, okx::Okx};
use crate::state::{Answer, Listing, State};

/// The language of one exchange.
pub trait Protocol: Send + Sync {
    /// The path of its address.
    fn path(&self) -> &'static str {
        "/"
    }

    /// What it says to a new connection, and to all when the state of its market changes.
    fn greeting(&self, _system: &str) -> Option<String> {
        None
    }

    /// The heartbeats of a connection that is subscribed to these.
    fn heartbeats(&self, _subscribed: &BTreeSet<String>) -> Vec<String> {
        Vec::new()
    }

    /// Reads what a client sends.
    fn read(&self, text: &str) -> Option<Request>;

    /// The answer to a keepalive, of a connection that is subscribed to these.
    fn pong(&self, request: &Request, subscribed: &BTreeSet<String>) -> String;

    /// The answer to a request in so far as it is about one symbol.
    fn acknowledgement(&self, _request: &Request, _symbol: &str) -> Option<String> {
        None
    }

    /// The answer to a request as a whole, of a connection that is now subscribed to these.
    fn acceptance(&self, _request: &Request, _subscribed: &BTreeSet<String>) -> Option<String> {
        None
    }

    /// What it says of a symbol that it does not list; without it such a symbol is taken like any other.
    fn unknown(&self, _symbol: &str) -> Option<String> {
        None
    }

    /// What it says to a second subscription, if that is one.
    fn repeated(&self) -> Option<&'static str> {
        None
    }

    /// The answer to a request, or to one symbol of it, that is refused in these words.
    fn refusal(&self, request: &Request, symbol: &str, words: &str) -> String;

    /// Whether a request is granted as a whole or not at all.
    fn is_all_or_nothing(&self) -> bool {
        false
    }

    /// Whether a subscription begins with the price of now.
    fn has_snapshots(&self) -> bool {
        true
    }

    /// A price.
    fn ticker(&self, snapshot: bool, symbol: &str, listing: &Listing) -> String;
}

/// What a client wants.
pub struct Request {
    /// What it wants done.
    pub kind: Kind,
    /// With these.
    pub symbols: Vec<String>,
    /// All that it said; null if that was no JSON.
    pub json: Value,
}

/// What can be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The prices of these symbols.
    Subscribe,
    /// No more prices of these.
    Unsubscribe,
    /// A sign of life.
    Ping,
}

/// The answers to a client's frame, in order. What it is subscribed to changes with them.
pub(crate) fn answers(state: &State, subscribed: &mut BTreeSet<String>, text: &str) -> Vec<String> {
    let protocol = state.protocol;
    let Some(request) = protocol.read(text) else { return Vec::new() };
    match request.kind {
        Kind::Ping => vec![protocol.pong(&request, subscribed)],
        Kind::Subscribe => subscribe(protocol, state, subscribed, &request),
        Kind::Unsubscribe => {
            for symbol in &request.symbols {
                subscribed.remove(symbol);
            }
            let each = request.symbols.iter().filter_map(|symbol| protocol.acknowledgement(&request, symbol));
            each.chain(protocol.acceptance(&request, subscribed)).collect()
        }
    }
}

fn subscribe(
    protocol: &dyn Protocol,
    state: &State,
    subscribed: &mut BTreeSet<String>,
    request: &Request,
) -> Vec<String> {
    let (mut frames, mut refused, mut granted) = (Vec::new(), Vec::new(), Vec::new());
    let mut ignored = false;
    for symbol in &request.symbols {
        let refusal = match (state.answers.get(symbol), state.listings.get(symbol)) {
            (Some(Answer::Ignore), _) => {
                ignored = true;
                continue;
            }
            (Some(Answer::Refuse(words)), _) => Some(words.clone()),
            _ if subscribed.contains(symbol) && protocol.repeated().is_some() => protocol.repeated().map(str::to_owned),
            (_, None) => protocol.unknown(symbol),
            (_, Some(_)) => None,
        };
        match refusal {
            Some(words) => refused.push(protocol.refusal(request, symbol, &words)),
            None => granted.push(symbol),
        }
    }
    if protocol.is_all_or_nothing() && (ignored || !refused.is_empty()) {
        return refused;
    }
    subscribed.extend(granted.iter().map(|&symbol| symbol.clone()));
    frames.extend(protocol.acceptance(request, subscribed));
    for symbol in granted {
        frames.extend(protocol.acknowledgement(request, symbol));
        let listing = state.listings.get(symbol).filter(|_| protocol.has_snapshots());
        frames.extend(listing.map(|listing| protocol.ticker(true, symbol, listing)));
    }
    frames.extend(refused);
    frames
}

/// Reads a JSON object.
fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// The strings of a JSON array.
fn strings(array: &Value) -> Vec<String> {
    array.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Microseconds since 1970, for exchanges that write their times so.
fn micros(listing: &Listing) -> i128 {
    OffsetDateTime::parse(&listing.timestamp, &Rfc3339).map_or(0, |time| time.unix_timestamp_nanos() / 1000)
}
