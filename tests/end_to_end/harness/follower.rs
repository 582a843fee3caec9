use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use ratebus_sdk::model::{Timestamp, decimal as decimals};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{SocketIo, Sse, WebSocket, eventually, within};

/// How prices are made, so that each tells its pair, its place in time and the exchange it is from: in cents, the bid is the
/// pair's base, ten for each tick so far, and the exchange's number. The ask is five more.
pub(crate) const BASES: [(&str, u64); 2] = [("BTC_USD", 2_000_000), ("ETH_USD", 265_000)];
/// More ticks than any test has.
const TICKS: u64 = 100_000;
/// How much longer than its limits allow a price may seem fresh: it takes its way to the client.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// How long between two questions over HTTP.
const ASKING: Duration = Duration::from_millis(50);

/// The bid and ask of a tick.
pub(crate) fn prices(base: u64, tick: u64, exchange: u64) -> (u64, u64) {
    let bid = base + 10 * tick + exchange;
    (bid, bid + 5)
}

/// Cents as the decimal number that travels.
pub(crate) fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// What the house earns with a revision of the spread of a pair: each has another, the same on both sides, in cents.
pub(crate) fn markup(revision: u64) -> u64 {
    revision * 7
}

/// A client that checks everything it is sent.
pub(crate) struct Follower {
    name: String,
    stale_after: Duration,
    seen: Arc<Mutex<Seen>>,
    /// Ends with what the server says of coming again.
    following: Option<JoinHandle<Option<u64>>>,
}

/// What it knows, also of the connections before.
#[derive(Default)]
struct Seen {
    pairs: HashMap<String, History>,
    violations: Vec<String>,
}

/// Of one pair.
#[derive(Default)]
pub(crate) struct History {
    /// The last quote.
    pub(crate) last: Value,
    /// The tick of the last price.
    pub(crate) tick: u64,
    /// The numbers of the exchanges the prices came from, a new entry whenever it changes.
    pub(crate) exchanges: Vec<u64>,
    last_at: Option<Instant>,
    longest_gap: Duration,
    left: HashSet<String>,
}

impl Follower {
    pub(crate) fn new(name: &str, stale_after: Duration) -> Self {
        Self { name: name.to_owned(), stale_after, seen: Arc::default(), following: None }
    }

    /// Follows over a WebSocket until the server is gone.
    pub(crate) async fn follow_websocket(&mut self, url: &str) {
        let (mut socket, seen, stale_after) = (WebSocket::connect(url, "").await, self.seen.clone(), self.stale_after);
        self.following = Some(tokio::spawn(async move {
            while let Some(frame) = socket.try_next().await {
                seen.lock().unwrap().take_all(&frame["quote"], &frame["quotes"], stale_after);
            }
            socket.retry()
        }));
    }

    /// Follows over server-sent events until the server is gone.
    pub(crate) async fn follow_events(&mut self, url: &str) {
        let (mut stream, seen, stale_after) = (Sse::connect(url).await, self.seen.clone(), self.stale_after);
        self.following = Some(tokio::spawn(async move {
            while let Some((event, data)) = stream.try_next().await {
                let quote = if event == "quote" { &data } else { &Value::Null };
                seen.lock().unwrap().take_all(quote, &data["quotes"], stale_after);
            }
            stream.retry()
        }));
    }

    /// Follows `rates:live` with an official client.
    pub(crate) fn follow_live(&mut self, url: &str, transport: &str) {
        let (mut live, seen) = (SocketIo::connect(url, "4", transport), self.seen.clone());
        self.following = Some(tokio::spawn(async move {
            loop {
                let map: Value = serde_json::from_str(&live.next().await).unwrap();
                seen.lock().unwrap().take_map(&map);
            }
        }));
    }

    /// Asks over HTTP, again and again.
    pub(crate) fn follow_http(&mut self, url: &str) {
        let (url, seen, stale_after) = (format!("{url}/v1/rates"), self.seen.clone(), self.stale_after);
        self.following = Some(tokio::spawn(async move {
            loop {
                let all: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
                seen.lock().unwrap().take_all(&Value::Null, &all["rates"], stale_after);
                tokio::time::sleep(ASKING).await;
            }
        }));
    }

    /// Waits until the server has ended the connection; in how many milliseconds it wants to see this client again.
    pub(crate) async fn sent_away(&mut self) -> Option<u64> {
        within("the end of a connection", self.following.take().unwrap()).await.unwrap()
    }

    /// The longest time without a quote of a pair, since this was asked last.
    pub(crate) fn longest_gap(&self) -> Duration {
        let mut seen = self.seen.lock().unwrap();
        seen.pairs.values_mut().map(|history| mem::take(&mut history.longest_gap)).max().unwrap_or_default()
    }

    /// What is known of a pair.
    pub(crate) fn read<T>(&self, pair: &str, read: impl FnOnce(&History) -> T) -> Option<T> {
        self.seen.lock().unwrap().pairs.get(pair).map(read)
    }

    /// Waits until each pair is as `wanted`; says how long that took.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&History) -> bool) -> Duration {
        let started = Instant::now();
        eventually(&format!("{} at {}", what, self.name), || async {
            self.check();
            let all = BASES.iter().all(|(pair, _)| self.read(pair, &wanted).unwrap_or_default());
            all.then_some(())
        })
        .await;
        started.elapsed()
    }

    /// Waits for a price that is fresh and newer than those so far.
    pub(crate) async fn until_it_goes_on(&self) -> Duration {
        let ticks: Vec<u64> = BASES.iter().filter_map(|(pair, _)| self.read(pair, |history| history.tick)).collect();
        let latest = ticks.into_iter().max().unwrap_or_default();
        self.until("newer prices", |history| history.tick > latest && history.last["status"] == "fresh").await
    }

    /// Fails the test if anything that came was wrong, or nothing comes any more.
    pub(crate) fn check(&self) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.violations.is_empty(), "{}:\n{}", self.name, seen.violations.join("\n"));
        assert!(self.following.as_ref().is_some_and(|task| !task.is_finished()), "{} was disconnected", self.name);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

impl Seen {
    /// A quote came, or a snapshot of several.
    fn take_all(&mut self, quote: &Value, snapshot: &Value, stale_after: Duration) {
        if quote.is_object() {
            self.take(quote, false, stale_after);
        }
        for quote in snapshot.as_array().into_iter().flatten() {
            self.take(quote, true, stale_after);
        }
    }

    /// The map of `rates:live` came.
    fn take_map(&mut self, map: &Value) {
        for (pair, entry) in map.as_object().into_iter().flatten() {
            let history = self.pairs.entry(pair.clone()).or_default();
            let before = mem::replace(&mut history.last, entry.clone());
            if let Err(why) = history.take_entry(pair) {
                self.violations.push(format!("{why}\n  after  {before}\n  came   {entry}"));
            }
        }
    }

    /// A quote came; one in a snapshot may be known already.
    fn take(&mut self, quote: &Value, in_snapshot: bool, stale_after: Duration) {
        let pair = quote["pair"].as_str().unwrap_or_default().to_owned();
        let history = self.pairs.entry(pair).or_default();
        let before = history.last.clone();
        if let Err(why) = history.take(quote, in_snapshot, stale_after) {
            self.violations.push(format!("{why}\n  after  {before}\n  came   {quote}"));
        }
    }
}

impl History {
    fn take(&mut self, quote: &Value, in_snapshot: bool, stale_after: Duration) -> Result<(), &'static str> {
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(self.last_at.replace(now).map_or(Duration::ZERO, |last| now - last));
        let before = mem::replace(&mut self.last, quote.clone());
        self.check_order(&before, in_snapshot)?;
        if quote["status"] == "dead" {
            let silent = quote["original"].is_null() && quote["customer"].is_null();
            return if silent { Ok(()) } else { Err("a dead price") };
        }
        check_age(quote, stale_after)?;
        check_prices(quote)?;
        self.advance(source_of(quote).ok_or("no price of this pair")?)
    }

    /// An entry of `rates:live` came, whose prices are numbers.
    fn take_entry(&mut self, pair: &str) -> Result<(), &'static str> {
        let text = |side: &str| {
            let number = decimals::parse(&self.last["original"][side].to_string()).ok()?;
            Some(format!("{number:.2}"))
        };
        let (bid, ask) = text("sell").zip(text("buy")).ok_or("no price")?;
        let quote = json!({ "pair": pair, "original": { "buy": ask, "sell": bid } });
        if self.last["withSpread"] != self.last["original"] {
            return Err("not the market's price without a spread");
        }
        self.advance(source_of(&quote).ok_or("no price of this pair, or one that is crossed or zero")?)
    }

    fn advance(&mut self, (tick, exchange): (u64, u64)) -> Result<(), &'static str> {
        if tick < self.tick {
            return Err("an older price");
        }
        self.tick = tick;
        if self.exchanges.last() != Some(&exchange) {
            self.exchanges.push(exchange);
        }
        Ok(())
    }

    fn check_order(&mut self, before: &Value, in_snapshot: bool) -> Result<(), &'static str> {
        let version = |quote: &Value| (quote["epoch"].as_str().map(str::to_owned), quote["sequence"].as_u64());
        let ((old_epoch, old), (epoch, new)) = (version(before), version(&self.last));
        let epoch = epoch.ok_or("no epoch")?;
        if self.left.contains(&epoch) {
            return Err("an epoch that was left");
        }
        match old_epoch {
            Some(old_epoch) if old_epoch != epoch => _ = self.left.insert(old_epoch),
            Some(_) if new < old || (new == old && !in_snapshot) => return Err("a step back"),
            _ => {}
        }
        Ok(())
    }
}

/// Whether a price that came some time ago says that it is stale. There is a tick all the time.
fn check_age(quote: &Value, stale_after: Duration) -> Result<(), &'static str> {
    let received: Timestamp = quote["receivedTime"].as_str().and_then(|text| text.parse().ok()).ok_or("no time")?;
    let age = received.age_at(Timestamp::from(SystemTime::now()));
    if quote["status"] == "fresh" && age > stale_after + ON_ITS_WAY { Err("fresh though it is old") } else { Ok(()) }
}

/// Whether the customer's prices are exactly the market's and the spread's.
pub(crate) fn check_prices(quote: &Value) -> Result<(), &'static str> {
    let side = |member: &str, side: &str| cents(&quote[member][side]);
    let (bid, ask) = side("original", "sell").zip(side("original", "buy")).ok_or("no price")?;
    if bid == 0 || bid > ask {
        return Err("a price that is crossed or zero");
    }
    let markup = if quote["rule"]["scope"].is_null() {
        0
    } else {
        markup(quote["rule"]["revision"].as_u64().ok_or("no revision")?)
    };
    let customer = json!({ "buy": decimal(ask + markup), "sell": decimal(bid - markup) });
    if quote["customer"] == customer { Ok(()) } else { Err("not the market's price with its spread") }
}

/// The tick and the exchange of a price.
pub(crate) fn source_of(quote: &Value) -> Option<(u64, u64)> {
    let (_, base) = BASES.iter().find(|(pair, _)| quote["pair"] == *pair)?;
    let (bid, ask) = cents(&quote["original"]["sell"]).zip(cents(&quote["original"]["buy"]))?;
    let (tick, exchange) = (bid.checked_sub(*base)? / 10, bid.checked_sub(*base)? % 10);
    (tick < TICKS && prices(*base, tick, exchange) == (bid, ask)).then_some((tick, exchange))
}

/// The cents of a decimal number with exactly two decimals.
pub(crate) fn cents(text: &Value) -> Option<u64> {
    let (whole, cents) = text.as_str()?.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if cents.len() != 2 || !digits(whole) || !digits(cents) {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 100 + cents.parse::<u64>().ok()?)
}
