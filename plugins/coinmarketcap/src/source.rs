use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use ratebus_model::{Limits, Pair, Tick, Timestamp, decimal};
use ratebus_sdk::{
    AttemptBudget, ConfigError, Error, ErrorKind, Retry, feed,
    poll::{Answer, Exchange, Feed, HeaderMap, HeaderName, Rules},
};
use serde::Deserialize;

use crate::{
    Protocol,
    api::{Period, Refusal, Reply, read},
    config::Settings,
    credits::Credits,
    quotes::{Coin, Price, coins},
};

/// `CoinMarketCap`'s API, `use = "source/coinmarketcap"`.
pub struct CoinMarketCap {
    settings: Settings,
    /// The version of the API that is asked; smaller where the plan lacks one.
    version: u8,
    /// The numbers of coins that the config does not give, by their codes.
    found: HashMap<String, u64>,
    credits: Credits,
    /// When credits and numbers were last asked for.
    looked_at: Option<Instant>,
}

/// What is asked for.
struct Wanted {
    pair: Pair,
    /// The coin's code and number there.
    code: String,
    id: u64,
}

#[async_trait]
impl Exchange for CoinMarketCap {
    const TYPE: &'static str = "source/coinmarketcap";
    const ENDPOINT: Option<&'static str> = Some("https://pro-api.coinmarketcap.com");
    type Protocol = Protocol;

    fn new(protocol: Protocol) -> Result<Self, ConfigError> {
        let settings = Settings::new(protocol)?;
        Ok(Self {
            version: settings.version,
            settings,
            found: HashMap::new(),
            credits: Credits::default(),
            looked_at: None,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            interval: Duration::from_mins(1),
            limits: Limits { stale_after: Duration::from_mins(5), dead_after: Duration::from_mins(15) },
            largest: 4 << 20,
            // The smallest plan is said to allow 30 in a minute.
            budget: AttemptBudget::new(20, Duration::from_mins(1)),
        }
    }

    fn headers(&self) -> HeaderMap {
        let name = HeaderName::from_static("x-cmc_pro_api_key");
        HeaderMap::from_iter([(name, self.settings.header.clone())])
    }

    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let now = feed.context().clock().now();
        if self.looked_at.is_none_or(|at| now.saturating_duration_since(at) >= Self::LOOK_AGAIN) {
            self.ask_credits(feed).await?;
            if let Some(period) = self.credits.used_up() {
                return Err(self.wait_for_credits(period));
            }
            self.find(feed).await?;
            self.looked_at = Some(now);
        }
        for (currency, wanted) in self.wanted(feed) {
            for group in wanted.chunks(Self::GROUP) {
                match self.ask_quotes(feed, &currency, group).await {
                    Ok(()) => {}
                    Err(Refusal::Invalid(words)) => {
                        for wanted in group {
                            feed.refuse(wanted.pair, words.clone());
                        }
                    }
                    Err(Refusal::Credits(period)) => {
                        self.looked_at = None;
                        self.ask_credits(feed).await?;
                        return Err(self.wait_for_credits(period));
                    }
                    Err(refusal) => return Err(refusal.into()),
                }
            }
        }
        Ok(())
    }
}

impl CoinMarketCap {
    /// A credit is good for so many coins.
    const GROUP: usize = 100;
    /// How often credits are asked for, and the numbers of coins that were not found.
    const LOOK_AGAIN: Duration = Duration::from_hours(1);

    /// Costs no credit. What goes wrong with it alone is no reason to do without prices.
    async fn ask_credits(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let answer = feed.get("/v1/key/info").await?;
        let credits =
            read(&answer, &self.settings.key).and_then(|reply| Ok(Credits::read(&reply).map_err(Error::from)?));
        // What was said an hour ago must not keep anybody waiting.
        self.credits = Credits::default();
        match credits {
            Ok(credits) => {
                credits.show(feed.context().name());
                self.credits = credits;
            }
            Err(Refusal::Error(error)) if error.retry() != Retry::Backoff => return Err(error),
            Err(refusal) => feed.complain(&format!("what is left of the plan is not known: {}", Error::from(refusal))),
        }
        Ok(())
    }

    /// Asking goes on in vain until credits are given anew; that they are is looked at in an hour at the latest.
    fn wait_for_credits(&self, period: Period) -> Error {
        let reset = self.credits.resets_in(period);
        let anew = reset.map(|reset| format!("; there are new ones in {} min", reset.as_secs().div_ceil(60)));
        let words = format!("the credits of the {} are used up{}", period.as_str(), anew.unwrap_or_default());
        let wait = reset.unwrap_or(Self::LOOK_AGAIN).clamp(Duration::from_mins(1), Self::LOOK_AGAIN);
        Error::new(ErrorKind::RateLimited, words).with_retry(Retry::After(wait))
    }

    /// Finds the numbers of coins that the config does not give: of those with one code the first in the ranking.
    async fn find(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let coins = feed.symbols().iter().map(|(pair, symbol)| (*pair, coin_and_currency(*pair, symbol).0));
        let unknown: Vec<(Pair, String)> = coins.filter(|(pair, code)| self.id(*pair, code).is_none()).collect();
        let mut groups: Vec<_> = unknown.chunks(Self::GROUP).collect();
        while let Some(group) = groups.pop() {
            let mut codes: Vec<&str> = group.iter().map(|(_, code)| code.as_str()).collect();
            codes.sort_unstable();
            codes.dedup();
            let answer = feed.get(&format!("/v1/cryptocurrency/map?symbol={}", codes.join(","))).await?;
            match (read(&answer, &self.settings.key), group) {
                (Ok(reply), _) => self.take_numbers(feed, &reply, group)?,
                (Err(Refusal::Invalid(words)), [(pair, _)]) => feed.refuse(*pair, words),
                // One code that they do not know fails the request for all: the halves tell which it is.
                (Err(Refusal::Invalid(_)), _) => groups.extend(<[_; 2]>::from(group.split_at(group.len() / 2))),
                (Err(Refusal::Plan(error)), _) => {
                    for (pair, _) in group {
                        feed.refuse(*pair, error.to_string());
                    }
                }
                (Err(refusal), _) => return Err(refusal.into()),
            }
        }
        Ok(())
    }

    fn take_numbers(&mut self, feed: &mut Feed, reply: &Reply<'_>, group: &[(Pair, String)]) -> Result<(), Error> {
        let rows = feed::json::elements(reply.data)?;
        let listed: Vec<Listed> = rows.iter().filter_map(|row| feed::json::object(row.get()).ok()).collect();
        for (pair, code) in group {
            let ours = listed.iter().filter(|listed| listed.symbol.eq_ignore_ascii_case(code));
            match ours.min_by_key(|listed| listed.rank.unwrap_or(u64::MAX)) {
                Some(Listed { id, name, .. }) => {
                    tracing::info!(%pair, code, id, name, "taken for {code}; protocol.ids would settle it");
                    self.found.insert(code.clone(), *id);
                }
                None => feed.refuse(*pair, "CoinMarketCap does not list the coin"),
            }
        }
        Ok(())
    }

    fn id(&self, pair: Pair, code: &str) -> Option<u64> {
        self.settings.ids.get(&pair.base()).or_else(|| self.found.get(code)).copied()
    }

    /// What to ask for, by currency: small plans allow one in a request, and large ones charge each.
    fn wanted(&self, feed: &Feed) -> BTreeMap<String, Vec<Wanted>> {
        let mut wanted: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
        for (pair, symbol) in feed.symbols() {
            let (code, currency) = coin_and_currency(*pair, symbol);
            if let Some(id) = self.id(*pair, &code) {
                wanted.entry(currency).or_default().push(Wanted { pair: *pair, code, id });
            }
        }
        wanted
    }

    async fn ask_quotes(&mut self, feed: &mut Feed, currency: &str, group: &[Wanted]) -> Result<(), Refusal> {
        let ids: Vec<String> = group.iter().map(|wanted| wanted.id.to_string()).collect();
        let query = format!("id={}&convert={currency}&aux=is_active&skip_invalid=true", ids.join(","));
        loop {
            let answer = feed.get(&format!("/v{}/cryptocurrency/quotes/latest?{query}", self.version)).await?;
            match read(&answer, &self.settings.key) {
                Ok(reply) => return Ok(self.tell(feed, &answer, &reply, currency, group)?),
                Err(Refusal::Plan(_)) if self.version > 1 => {
                    tracing::warn!(
                        version = self.version,
                        "the plan lacks this version of the API; trying an older one"
                    );
                    self.version -= 1;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    fn tell(
        &self,
        feed: &mut Feed,
        answer: &Answer,
        reply: &Reply<'_>,
        currency: &str,
        group: &[Wanted],
    ) -> Result<(), Error> {
        let (coins, unreadable) = coins(reply.data)?;
        if unreadable > 0 {
            feed.complain("a coin cannot be read");
        }
        for wanted in group {
            let pair = wanted.pair;
            let coin = coins.iter().find(|coin| coin.id == wanted.id);
            let coin = coin.ok_or_else(|| "CoinMarketCap's answer leaves the coin out".to_owned());
            match coin.and_then(|coin| self.hear(wanted, coin, currency)) {
                Ok((price, time)) => {
                    let (reference, event_time) = (Some(&*price), Some(time));
                    let tick = Tick { pair, bid: None, ask: None, reference, event_time, snapshot: false };
                    feed.dated(&tick, answer, reply.time);
                }
                Err(why) => feed.refuse(pair, why),
            }
        }
        Ok(())
    }

    /// The price of a coin, rounded, and its time; if it is the coin that was asked for and has them.
    fn hear(&self, wanted: &Wanted, coin: &Coin<'_>, currency: &str) -> Result<(String, Timestamp), String> {
        let Wanted { pair, code, id } = wanted;
        if !coin.symbol.eq_ignore_ascii_case(code) {
            let named: String = coin.symbol.chars().take(20).collect();
            return Err(format!("the coin with the number {id} is {named:?} and not {code}"));
        }
        if !coin.is_active() {
            return Err("the coin is no longer listed".to_owned());
        }
        let Price { text, time } = coin.price(currency).map_err(|why| format!("the coin {why} in {currency}"))?;
        let rounded = decimal::parse(text).map(|exact| exact.round_dp(self.settings.decimals(*pair)).to_string());
        Ok((rounded.unwrap_or_else(|_| text.to_owned()), time))
    }
}

/// `BTC/USD`: the coin's code and the currency. A name without a slash is the coin's alone.
fn coin_and_currency(pair: Pair, symbol: &str) -> (String, String) {
    match symbol.split_once('/') {
        Some((coin, currency)) => (coin.to_owned(), currency.to_owned()),
        None => (symbol.to_owned(), pair.quote().to_string()),
    }
}

/// A row of the list of all coins.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    name: String,
    symbol: String,
    rank: Option<u64>,
}
