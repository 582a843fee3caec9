use std::{
    borrow::Cow,
    collections::HashMap,
    slice,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ratebus_model::{Pair, Tick};
use ratebus_sdk::{
    AttemptBudget, ConfigError, Error, ErrorKind, Retry,
    feed::json::{Text, elements, object, unquoted},
    poll::{Answer, Exchange, Feed, HeaderMap, Rules},
};
use serde_json::value::RawValue;

use crate::{Protocol, config::Prices};

/// An exchange by config alone, `use = "source/http-json"`.
pub struct HttpJson {
    protocol: Protocol,
    prices: Prices,
    headers: HeaderMap,
    /// The pairs whose last request of their own failed, and since when they may be asked for again.
    failed: HashMap<Pair, Instant>,
}

/// In an address a name is encoded but for what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[async_trait]
impl Exchange for HttpJson {
    const TYPE: &'static str = "source/http-json";
    const ENDPOINT: Option<&'static str> = None;
    type Protocol = Protocol;

    fn new(protocol: Protocol) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        error.take(protocol.check());
        let (prices, headers) = (error.take(protocol.prices()), error.take(protocol.headers()));
        let (Some(prices), Some(headers)) = (prices, headers) else { return Err(error) };
        error.or(Self { protocol, prices, headers, failed: HashMap::new() })
    }

    fn rules(&self) -> Rules {
        let burst = 5;
        let limit = usize::try_from(self.protocol.requests_per_second).unwrap_or(usize::MAX).saturating_mul(burst);
        Rules { budget: AttemptBudget::new(limit, Duration::from_secs(5)), ..Rules::default() }
    }

    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn symbol(&self, pair: Pair) -> String {
        self.protocol.symbol.of(pair)
    }

    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let symbols = feed.symbols().to_vec();
        if self.protocol.one_by_one() { self.ask_each(feed, symbols).await } else { self.ask(feed, &symbols).await }
    }
}

impl HttpJson {
    /// How many pairs may fail in a round before it ends, so that it does not take long, and what is down is left alone.
    const TOLERATED: usize = 3;

    /// Asks for one pair after the other. One that fails costs the others nothing: those that failed come last, the
    /// longest untried first, and not before the pause that was asked for.
    async fn ask_each(&mut self, feed: &mut Feed, mut symbols: Vec<(Pair, String)>) -> Result<(), Error> {
        let now = feed.context().clock().now();
        symbols.retain(|(pair, _)| self.failed.get(pair).is_none_or(|&again| again <= now));
        symbols.sort_by_key(|(pair, _)| self.failed.get(pair).copied());
        let (mut answered, mut failures) = (0, Vec::new());
        for symbol in &symbols {
            match self.ask(feed, slice::from_ref(symbol)).await {
                Ok(()) => {
                    answered += 1;
                    self.failed.remove(&symbol.0);
                }
                Err(error) if error.kind() == ErrorKind::RateLimited => return Err(error),
                Err(error) => {
                    let pause = if let Retry::After(pause) = error.retry() { pause } else { Duration::ZERO };
                    self.failed.insert(symbol.0, feed.context().clock().now() + pause);
                    let has_cost_much_time = error.kind() == ErrorKind::Stalled;
                    failures.push((symbol.0, error));
                    if has_cost_much_time || failures.len() == Self::TOLERATED {
                        break;
                    }
                }
            }
        }
        if answered == 0 && !failures.is_empty() {
            let error = failures.swap_remove(0).1;
            // Of all pairs, those that were not asked yet too: the pause of one is no other's.
            let soonest = feed.symbols().iter().map(|(pair, _)| self.failed.get(pair).copied()).min().flatten();
            let pause = soonest.map(|again| again.saturating_duration_since(feed.context().clock().now()));
            let retry = pause.filter(|pause| !pause.is_zero()).map_or(Retry::Backoff, Retry::After);
            return Err(error.with_retry(retry));
        }
        for (pair, error) in failures {
            feed.refuse(pair, error.to_string());
        }
        Ok(())
    }

    /// Asks for the tickers of these pairs, and tells them.
    async fn ask(&self, feed: &mut Feed, symbols: &[(Pair, String)]) -> Result<(), Error> {
        let names: Vec<String> =
            symbols.iter().map(|(_, name)| utf8_percent_encode(name, ENCODED).to_string()).collect();
        let names = names.join(&self.protocol.separator);
        let answer = feed.get(&self.protocol.path.replace("{symbols}", &names).replace("{symbol}", &names)).await?;
        if let ([(pair, _)], true, 400 | 404 | 410 | 422) =
            (symbols, self.protocol.one_by_one(), answer.status().as_u16())
        {
            feed.refuse(*pair, format!("the exchange answers with HTTP {}", answer.status()));
            return Ok(());
        }
        let document: &RawValue = answer.json()?;
        if let Some(words) = self.complaint(document) {
            return Err(Error::new(ErrorKind::Protocol, format!("the exchange says {words:?}")));
        }
        let tickers = self.tickers(document)?;
        for (pair, name) in symbols {
            match tickers.find(name) {
                Some(ticker) => self.tell(feed, &answer, *pair, ticker),
                None => feed.refuse(*pair, "the answer leaves the pair out"),
            }
        }
        Ok(())
    }

    /// What the exchange says is wrong.
    fn complaint(&self, document: &RawValue) -> Option<String> {
        let said = self.protocol.error.as_ref()?.find(document)?;
        let nothing = matches!(unquoted(said), "" | "null" | "false" | "0" | "[]" | "{}");
        (!nothing).then(|| unquoted(said).chars().take(160).collect())
    }

    fn tickers<'b>(&self, document: &'b RawValue) -> Result<Tickers<'b>, Error> {
        let list = match &self.protocol.list {
            Some(place) => Some(place.find(document).ok_or_else(|| missing("list", &place.to_string()))?),
            None => None,
        };
        let rows: Vec<&RawValue> = match (list, &self.protocol.name) {
            (None, None) => return Ok(Tickers::One(document)),
            (Some(list), None) => return Ok(Tickers::Named(object(list.get())?)),
            (None, Some(_)) => vec![document],
            (Some(list), Some(_)) if list.get().starts_with('[') => elements(list)?,
            (Some(list), Some(_)) => object::<HashMap<Cow<'_, str>, &RawValue>>(list.get())?.into_values().collect(),
        };
        let name = |row: &'b RawValue| self.protocol.name.as_ref()?.find(row);
        Ok(Tickers::Named(rows.into_iter().filter_map(|row| Some((text(name(row)?), row))).collect()))
    }

    fn tell(&self, feed: &mut Feed, answer: &Answer, pair: Pair, ticker: &RawValue) {
        let (bid, ask, reference) = match &self.prices {
            Prices::Sides { bid, ask } => (bid.find(ticker), ask.find(ticker), None),
            Prices::Reference(price) => (None, None, price.find(ticker)),
        };
        if reference.is_none() && (bid.is_none() || ask.is_none()) {
            return feed.refuse(pair, "the ticker has no price where one should be");
        }
        let time = self.protocol.time.as_ref().and_then(|time| time.find(ticker));
        let event_time = time.and_then(|time| self.protocol.time_format.read(time));
        let (bid, ask, reference) = (bid.map(unquoted), ask.map(unquoted), reference.map(unquoted));
        let tick = Tick { pair, bid, ask, reference, event_time, snapshot: false };
        if self.protocol.aged {
            feed.dated(&tick, answer, answer.server_time());
        } else {
            feed.tick(&tick, answer);
        }
    }
}

/// A name: what a string says, or the digits of a number.
fn text(raw: &RawValue) -> Cow<'_, str> {
    serde_json::from_str(raw.get()).map_or(Cow::Borrowed(raw.get()), |Text(text)| text)
}

fn missing(what: &str, place: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the answer has no {what} at {place:?}"))
}

/// The tickers of an answer.
enum Tickers<'b> {
    /// The answer to a request for one pair, which does not say of which.
    One(&'b RawValue),
    Named(HashMap<Cow<'b, str>, &'b RawValue>),
}

impl<'b> Tickers<'b> {
    fn find(&self, name: &str) -> Option<&'b RawValue> {
        match self {
            Self::One(ticker) => Some(ticker),
            Self::Named(tickers) => tickers.get(name).copied(),
        }
    }
}
