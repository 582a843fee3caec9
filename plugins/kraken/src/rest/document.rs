//! What Kraken's REST API answers: `{"error":[…],"result":{…}}`, with HTTP 200 whatever the error.

use std::{borrow::Cow, collections::BTreeMap};

use ratebus_model::Pair;
use ratebus_sdk::{
    Error, ErrorKind,
    feed::{
        DecodeError,
        json::{Text, object, unquoted},
    },
    poll::Answer,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow, default)]
    error: Vec<Text<'b>>,
    #[serde(borrow)]
    result: Option<&'b RawValue>,
}

/// An answer that was no error, or the one error that is about a single pair.
pub(super) enum Said<'b> {
    Result(&'b RawValue),
    UnknownPair,
}

impl<'b> Said<'b> {
    pub(super) fn result(self) -> Result<&'b RawValue, Error> {
        match self {
            Self::Result(result) => Ok(result),
            Self::UnknownPair => Err(Error::new(ErrorKind::Protocol, "Kraken does not know a pair")),
        }
    }
}

/// Tells an answer from an error. Warnings (`W…`) come beside a result and change nothing.
pub(super) fn read(answer: &Answer) -> Result<Said<'_>, Error> {
    let envelope: Envelope<'_> = answer.json()?;
    match envelope.error.iter().find(|Text(text)| !text.starts_with('W')) {
        Some(Text(text)) if text.starts_with("EQuery:Unknown asset pair") => Ok(Said::UnknownPair),
        Some(Text(text)) => Err(refusal(text)),
        None => match envelope.result {
            Some(result) => Ok(Said::Result(result)),
            None => Err(Error::new(ErrorKind::Protocol, "neither a result nor an error")),
        },
    }
}

fn refusal(text: &str) -> Error {
    let kind = match text {
        _ if text.starts_with("EGeneral:Too many requests") => ErrorKind::RateLimited,
        _ if text.starts_with("EAPI:Rate limit exceeded") => ErrorKind::RateLimited,
        _ if text.starts_with("EService:") || text.starts_with("EGeneral:Internal error") => ErrorKind::Connect,
        _ => ErrorKind::Protocol,
    };
    Error::new(kind, format!("Kraken says {:?}", text.chars().take(160).collect::<String>()))
}

#[derive(Deserialize)]
struct AssetPair<'b> {
    /// `XBT/USD`. What has none, such as a dark pool, is not for us.
    #[serde(borrow)]
    wsname: Option<Text<'b>>,
}

/// The pairs of `symbols` that Kraken lists, with its keys for them, one for each. Its names are of old: `XBT/USD`,
/// `XDG/USD`. A pair that the config gives another name goes by that alone: what Kraken calls like the pair is something
/// else then.
pub(super) fn listed(result: &RawValue, symbols: &[(Pair, String)]) -> Result<Vec<(String, Pair)>, DecodeError> {
    let listed: BTreeMap<Cow<'_, str>, &RawValue> = object(result.get())?;
    let named = |(key, raw): (Cow<'_, str>, &RawValue)| {
        let Text(name) = object::<AssetPair<'_>>(raw.get()).ok()?.wsname?;
        Some((key.into_owned(), name.into_owned()))
    };
    let named: Vec<(String, String)> = listed.into_iter().filter_map(named).collect();
    let key = |&(pair, ref symbol): &(Pair, String)| {
        let exact = named.iter().find(|(_, name)| name == symbol);
        let alike = || named.iter().find(|(_, name)| name.parse() == Ok(pair));
        let found = exact.or_else(|| if symbol.parse() == Ok(pair) { alike() } else { None });
        Some((found?.0.clone(), pair))
    };
    let mut keys: Vec<(String, Pair)> = symbols.iter().filter_map(key).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// The raw ticker of one pair.
pub(super) struct Raw<'b>(&'b RawValue);

/// Each is price, whole lots and lots; in bodies of old the price and the lots. All are strings.
#[derive(Deserialize)]
struct Ticker<'b> {
    #[serde(borrow)]
    a: Vec<&'b RawValue>,
    #[serde(borrow)]
    b: Vec<&'b RawValue>,
}

/// The tickers by key. One that cannot be read does not cost the others theirs.
pub(super) fn tickers(result: &RawValue) -> Result<BTreeMap<Cow<'_, str>, Raw<'_>>, DecodeError> {
    let tickers: BTreeMap<Cow<'_, str>, &RawValue> = object(result.get())?;
    Ok(tickers.into_iter().map(|(key, raw)| (key, Raw(raw))).collect())
}

impl<'b> Raw<'b> {
    /// Best bid and best ask. An empty side is `0`, and refused where prices are read.
    pub(super) fn sides(&self) -> Result<(&'b str, &'b str), DecodeError> {
        let Ticker { a, b } = object::<Ticker<'b>>(self.0.get())?;
        match (b.first(), a.first()) {
            (Some(bid), Some(ask)) => Ok((unquoted(bid), unquoted(ask))),
            _ => Err(DecodeError("a side without a price".to_owned())),
        }
    }
}

/// The state of the exchange.
#[derive(Deserialize)]
pub(super) struct Status<'b> {
    #[serde(borrow)]
    pub(super) status: Cow<'b, str>,
    #[serde(borrow)]
    pub(super) upcoming_maintenance: Option<&'b RawValue>,
}
