use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    client::Told,
    market::{PAIRS, State},
};
use crate::harness::{cents, check_prices, markup, source_of};

/// What a client was told so far, on all of its connections.
#[derive(Default)]
pub(super) struct Seen {
    pairs: HashMap<String, Last>,
    /// How many snapshots and maps.
    pub(super) wholes: u64,
    /// How many quotes by themselves.
    pub(super) quotes: u64,
}

/// Of one pair.
struct Last {
    state: State,
    /// A map has none.
    version: Option<(String, u64)>,
}

impl Seen {
    /// Fails the test if this is wrong: no price of the market with a spread of its own, older than what was told before, or,
    /// unless it is among all others, not newer.
    pub(super) fn take(&mut self, told: &Told) {
        match told {
            Told::Snapshot(quotes) => {
                self.wholes += 1;
                for quote in quotes {
                    self.take_quote(quote, true);
                }
            }
            Told::Quote(quote) => {
                self.quotes += 1;
                self.take_quote(quote, false);
            }
            Told::Map(map) => {
                self.wholes += 1;
                for (pair, entry) in map.as_object().unwrap() {
                    self.take_quote(&as_quote(pair, entry), true);
                }
            }
        }
    }

    /// Whether the last of each of [`PAIRS`] is made from this.
    pub(super) fn is(&self, states: &[State]) -> bool {
        PAIRS.iter().zip(states).all(|(pair, state)| self.pairs.get(*pair).is_some_and(|last| last.state == *state))
    }

    pub(super) fn take_quote(&mut self, quote: &Value, may_be_known: bool) {
        check_prices(quote).unwrap_or_else(|why| panic!("{why}: {quote}"));
        let (tick, _) = source_of(quote).unwrap_or_else(|| panic!("no price of this pair: {quote}"));
        let state = State { tick, revision: quote["rule"]["revision"].as_u64().unwrap_or_default() };
        let version = quote["epoch"].as_str().map(|epoch| (epoch.to_owned(), quote["sequence"].as_u64().unwrap()));
        if let Some(last) = self.pairs.get(quote["pair"].as_str().unwrap()) {
            let back = state.tick < last.state.tick || state.revision < last.state.revision;
            assert!(!back, "a step back from {:?}: {quote}", last.state);
            let pair = last.version.as_ref().zip(version.as_ref());
            if let Some(((old_epoch, old), (epoch, new))) = pair.filter(|(old, new)| old.0 == new.0) {
                let newer = new > old || (may_be_known && new == old);
                assert!(newer, "after {old_epoch}-{old} came {epoch}-{new}: {quote}");
            }
        }
        self.pairs.insert(quote["pair"].as_str().unwrap().to_owned(), Last { state, version });
    }
}

/// An entry of the map as the quote it was made from.
fn as_quote(pair: &str, entry: &Value) -> Value {
    let sides = |member: &str| json!({ "buy": money(&entry[member]["buy"]), "sell": money(&entry[member]["sell"]) });
    let spread = cents(&sides("currentSpread")["buy"]).unwrap_or_default();
    let scope = if spread == 0 { Value::Null } else { pair.into() };
    let rule = json!({ "scope": scope, "revision": spread / markup(1) });
    json!({ "pair": pair, "original": sides("original"), "customer": sides("withSpread"), "rule": rule })
}

/// A JSON number as the text with two decimals.
fn money(number: &Value) -> Value {
    let text = number.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{decimals:0<2}").into()
}
