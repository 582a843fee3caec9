//! The coins in an answer, whichever version of the API made it.

use std::{borrow::Cow, collections::BTreeMap};

use ratebus_model::Timestamp;
use ratebus_sdk::feed::{
    DecodeError,
    json::{Text, TimeFormat, elements, object, unquoted},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A coin, as far as we look at it.
#[derive(Debug, Deserialize)]
pub(crate) struct Coin<'b> {
    pub(crate) id: u64,
    #[serde(borrow)]
    pub(crate) symbol: Cow<'b, str>,
    #[serde(borrow)]
    is_active: Option<&'b RawValue>,
    #[serde(borrow)]
    last_updated: Option<&'b RawValue>,
    #[serde(borrow)]
    quote: &'b RawValue,
}

/// Its price in one currency.
#[derive(Debug, Deserialize)]
struct Quote<'b> {
    /// Where quotes are a list, the currency.
    #[serde(borrow)]
    symbol: Option<Text<'b>>,
    #[serde(borrow)]
    price: Option<&'b RawValue>,
    #[serde(borrow)]
    last_updated: Option<&'b RawValue>,
}

/// A coin's price: its text, and the time it is of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Price<'b> {
    pub(crate) text: &'b str,
    pub(crate) time: Timestamp,
}

/// The coins in `data`: a list (version 3), an object of coins (1), or of lists of coins that share a code (2). What cannot
/// be read is counted and costs the others nothing.
pub(crate) fn coins(data: &RawValue) -> Result<(Vec<Coin<'_>>, usize), DecodeError> {
    let mut rows = Vec::new();
    for row in list_or_values(data)? {
        if list(row) {
            rows.extend(elements(row)?);
        } else {
            rows.push(row);
        }
    }
    let coins: Vec<Coin<'_>> = rows.iter().filter_map(|row| object(row.get()).ok()).collect();
    let unreadable = rows.len() - coins.len();
    Ok((coins, unreadable))
}

impl<'b> Coin<'b> {
    /// Whether it is listed; without a word it is.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.is_none_or(|raw| matches!(raw.get(), "1" | "true"))
    }

    /// Its price in `currency`, or why there is none.
    pub(crate) fn price(&self, currency: &str) -> Result<Price<'b>, &'static str> {
        let quote = self.quote_in(currency).ok_or("has no quote")?;
        let text = quote.price.map(unquoted).ok_or("has no price")?;
        let time = quote.last_updated.or(self.last_updated).and_then(|time| TimeFormat::Rfc3339.read(time));
        Ok(Price { text, time: time.ok_or("has a price without a time,")? })
    }

    fn quote_in(&self, currency: &str) -> Option<Quote<'b>> {
        if list(self.quote) {
            let quotes = elements(self.quote).ok()?;
            let ours = |quote: &Quote<'_>| quote.symbol.as_ref().is_some_and(|Text(symbol)| symbol == currency);
            return quotes.iter().filter_map(|raw| object(raw.get()).ok()).find(ours);
        }
        let quotes: BTreeMap<Cow<'b, str>, &'b RawValue> = object(self.quote.get()).ok()?;
        object(quotes.get(currency)?.get()).ok()
    }
}

fn list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

fn list_or_values(raw: &RawValue) -> Result<Vec<&RawValue>, DecodeError> {
    if list(raw) {
        return elements(raw);
    }
    let values: BTreeMap<Cow<'_, str>, &RawValue> = object(raw.get())?;
    Ok(values.into_values().collect())
}
