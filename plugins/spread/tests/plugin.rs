//! The plugin as the engine runs it, over a host in memory and with time standing still until it is waited for.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use ratebus_model::{
    Adjustment, Epoch, Explanation, Limits, Market, Message, Pair, Payload, Quote, Rate, RateValue, Rule, Scope, Sides,
    Spread as Stored, Status, Subject, Timestamp, Verdict, Version, Withheld, decimal,
};
use ratebus_sdk::{
    Clock, Context, Error, Factory, HealthState, PairTable, Sink,
    testkit::{RecordingHost, env, eventually},
};
use ratebus_spread::Spread;
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep, timeout},
};

/// Long after every limit; in paused time it passes at once.
const DEADLINE: Duration = Duration::from_mins(10);

struct Running {
    host: Arc<RecordingHost>,
    ctx: Context,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(host: Arc<RecordingHost>, config: &str) -> Self {
        Self::start_with(host, config, json!({}))
    }

    /// With these `[pairs.*]` tables.
    fn start_with(host: Arc<RecordingHost>, config: &str, pairs: Value) -> Self {
        let env = env("spread", &[]);
        env.replace_pairs(serde_json::from_value::<PairTable>(pairs).unwrap().into());
        let plugin = Spread::build(serde_json::from_str(config).unwrap(), &env).unwrap();
        let inbox = host.inbox(&plugin.interests());
        let ctx = host.context("spread");
        let task = tokio::spawn(Box::new(plugin).run(inbox, ctx.clone()));
        Self { host, ctx, task }
    }

    fn publish(&self, subject: &Subject, payload: impl Into<Payload>) {
        self.ctx.try_publish(subject, payload).unwrap();
    }

    /// A rate that the feed vouches for now.
    fn tick(&self, bid: &str, ask: &str) {
        self.tick_of("kraken", bid, ask);
    }

    fn tick_of(&self, source: &str, bid: &str, ask: &str) {
        let arrival = Clock.arrival();
        let rate = Rate {
            source: source.parse().unwrap(),
            pair: pair(),
            value: RateValue::TwoSided { bid: bid.parse().unwrap(), ask: ask.parse().unwrap() },
            market: Market::Online,
            event_time: None,
            recv_time: arrival.time,
            confirmed_at: arrival.at,
            limits: Limits::STREAM,
            version: Version::first(Epoch::new(1)),
        };
        self.publish(&Subject::rate(rate.source, rate.pair), rate);
    }

    fn spread(&self, scope: Scope, revision: u64, markup: &str) {
        let (subject, spread) = stored(scope, revision, markup);
        self.publish(&subject, spread);
    }

    fn spreads_known(&self) {
        self.publish(&Subject::spreads_known(), Payload::Bytes(b"".as_slice().into()));
    }

    /// The first quote that `wanted` accepts, of those published and those to come.
    async fn quote(&self, wanted: impl Fn(&Quote) -> bool) -> Arc<Quote> {
        let message =
            self.host.wait_for(|message| quote_of(message).is_some_and(|quote| wanted(quote)), DEADLINE).await;
        Arc::clone(quote_of(&message).unwrap())
    }

    async fn version(&self, sequence: u64) -> Arc<Quote> {
        self.quote(|quote| quote.version.sequence == sequence).await
    }

    async fn ended(&mut self) -> Result<(), Error> {
        timeout(DEADLINE, &mut self.task).await.unwrap().unwrap()
    }

    fn quotes(&self) -> Vec<Arc<Quote>> {
        self.host.messages().iter().filter_map(|message| quote_of(message).cloned()).collect()
    }
}

fn quote_of(message: &Message) -> Option<&Arc<Quote>> {
    match &message.payload {
        Payload::Quote(quote) => Some(quote),
        _ => None,
    }
}

fn pair() -> Pair {
    "BTC_USD".parse().unwrap()
}

fn stored(scope: Scope, revision: u64, markup: &str) -> (Subject, Stored) {
    let value = Adjustment::absolute(decimal::parse(markup).unwrap());
    let rule = Some(Rule::from_markup(Sides { buy: value, sell: value }));
    let updated_at = Timestamp::from_millis(0);
    (Subject::spread(scope), Stored { scope, rule, revision, updated_by: "admin".to_owned(), updated_at })
}

fn shown(quote: &Quote) -> String {
    let Sides { buy, sell } = quote.customer.unwrap().price;
    format!("{buy} / {sell}")
}

const ZERO: &str = r#"{"stored": false, "default": {"buy": "0", "sell": "0"}}"#;

#[tokio::test(start_paused = true)]
async fn a_spread_reaches_customers_without_a_tick() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    plugin.tick("99", "100");
    assert_eq!(shown(&*plugin.version(1).await), "100.00 / 99.00");
    let before = Instant::now();
    plugin.spread(Scope::Pair(pair()), 1, "1.5");
    assert_eq!(shown(&*plugin.version(2).await), "101.50 / 97.50");
    assert_eq!(Instant::now(), before, "no time passed");
}

#[tokio::test(start_paused = true)]
async fn a_silent_feed_is_stale_and_then_dead_to_the_millisecond() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    let start = Instant::now();
    plugin.tick("99", "100");
    let health = plugin.ctx.health();
    assert_eq!(plugin.version(1).await.published_status, Status::Fresh);
    for (sequence, status, after) in [(2, Status::Stale, 10_000), (3, Status::Dead, 60_000)] {
        let quote = plugin.version(sequence).await;
        assert_eq!(quote.published_status, status);
        let (limit, late) = (Duration::from_millis(after), Duration::from_millis(after + 1));
        assert!(start.elapsed() > limit && start.elapsed() <= late, "{status:?} after {:?}", start.elapsed());
        tokio::task::yield_now().await;
        assert_eq!(health.state(), HealthState::NotReady("no fresh quote".to_owned()));
    }
    plugin.tick("99", "100");
    assert_eq!(plugin.version(4).await.published_status, Status::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_vouches_again_keeps_its_quote_fresh() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    plugin.tick("99", "100");
    let Payload::Rate(rate) = &plugin.host.messages()[0].payload else { panic!("a rate was published") };
    plugin.version(1).await;
    for _ in 0..30 {
        advance(Duration::from_secs(7)).await;
        let now = Clock.now();
        plugin.publish(&Subject::rate(rate.source, rate.pair), Rate { confirmed_at: now, ..Rate::clone(rate) });
        plugin.quote(|quote| quote.confirmed_at == now).await;
    }
    let quote = plugin.host.quote(pair()).unwrap();
    assert_eq!((quote.version.sequence, quote.published_status), (1, Status::Fresh));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_at_start_is_used_before_the_first_quote() {
    let host = RecordingHost::new();
    let mut before = Running::start(Arc::clone(&host), "{}");
    before.tick("99", "100");
    for other in ["ETH_USD", "ETH_BTC", "SOL_USD", "SOL_BTC", "ADA_USD", "ADA_BTC", "DOT_USD", "DOT_BTC"] {
        before.spread(other.parse().unwrap(), 1, "1");
    }
    before.spread(Scope::All, 1, "2");
    before.spreads_known();
    before.quote(|quote| quote.customer.is_ok()).await;
    before.ctx.cancel_token().cancel();
    before.ended().await.unwrap();
    let published = before.quotes().len();

    let after = Running::start(Arc::clone(&host), r#"{"default": {"buy": "0", "sell": "0"}}"#);
    after.tick("98", "100");
    eventually("a quote of the last rate", DEADLINE, || after.quotes().last().unwrap().bid.to_string() == "98").await;
    let quotes: Vec<String> = after.quotes()[published..].iter().map(|quote| shown(quote)).collect();
    assert_eq!(quotes.last().map(String::as_str), Some("102.00 / 96.00"));
    assert!(quotes.iter().all(|quote| quote.starts_with("102.00")), "{quotes:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_default_no_customer_price_until_a_spread_is_set() {
    let plugin = Running::start(RecordingHost::new(), "{}");
    plugin.tick("99", "100");
    assert_eq!(plugin.version(1).await.customer, Err(Withheld::SpreadsUnknown));
    plugin.spreads_known();
    assert_eq!(plugin.version(2).await.customer, Err(Withheld::NoSpread));
    plugin.spread(Scope::Pair(pair()), 1, "0");
    assert_eq!(shown(&*plugin.version(3).await), "100.00 / 99.00");
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_quotes() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    let state = || plugin.ctx.health().state();
    plugin.tick("99", "100");
    plugin.version(1).await;
    tokio::task::yield_now().await;
    assert_eq!(state(), HealthState::Ready);
    // Another pair appears while the first falls silent.
    advance(Duration::from_secs(6)).await;
    let Payload::Rate(rate) = &plugin.host.messages()[0].payload else { panic!("a rate was published") };
    let other: Pair = "ETH_USD".parse().unwrap();
    let fresh = Rate { pair: other, confirmed_at: Clock.now(), ..Rate::clone(rate) };
    plugin.publish(&Subject::rate(rate.source, other), fresh);
    plugin.quote(|quote| quote.pair == pair() && quote.published_status == Status::Stale).await;
    tokio::task::yield_now().await;
    assert_eq!(state(), HealthState::Degraded("not fresh: BTC_USD".to_owned()));
    plugin.tick("98", "100");
    plugin.version(3).await;
    // The reason may lag by a second.
    advance(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    assert_eq!(state(), HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_gives_way_the_moment_it_is_stale() {
    let pairs = json!({ "BTC_USD": { "sources": ["kraken", "acme"] } });
    let plugin = Running::start_with(RecordingHost::new(), ZERO, pairs);
    let start = Instant::now();
    plugin.tick("99", "100");
    let acme_goes_on = async {
        loop {
            plugin.tick_of("acme", "98", "101");
            sleep(Duration::from_secs(1)).await;
        }
    };
    let quote = tokio::select! {
        quote = plugin.quote(|quote| quote.source.as_str() == "acme") => quote,
        () = acme_goes_on => unreachable!(),
    };
    let (limit, waited) = (Duration::from_secs(10), start.elapsed());
    assert!(waited > limit && waited <= limit + Duration::from_millis(1), "{waited:?}");
    assert_eq!(shown(&quote), "101.00 / 98.00");
    assert!(
        plugin.quotes().iter().all(|quote| quote.published_status == Status::Fresh),
        "there was always a fresh one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cross_is_announced_and_quoted() {
    let pairs = json!({ "BTC_USD": {}, "USD_BTC": { "cross": ["BTC_USD"] } });
    let plugin = Running::start_with(RecordingHost::new(), ZERO, pairs);
    let announced = |message: &Message| matches!(&message.payload, Payload::Pairs(list) if list.pairs.len() == 1);
    let message = plugin.host.wait_for(announced, DEADLINE).await;
    assert_eq!(message.subject.as_str(), "pairs.cross");
    assert_eq!(plugin.ctx.health().state(), HealthState::Starting, "there is no quote that could be fresh");
    plugin.tick("50", "100");
    let quote = plugin.quote(|quote| quote.pair != pair()).await;
    assert_eq!(shown(&quote), "0.02000000 / 0.01000000");
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_how_a_price_came_about() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    let ask = async |pair: &str| {
        let subject = Subject::explanation(pair.parse().unwrap());
        let answer = plugin.ctx.request(&subject, Payload::Bytes(b"".as_slice().into()), DEADLINE).await.unwrap();
        let Payload::Bytes(json) = &answer.payload else { panic!("the answer is JSON") };
        serde_json::from_slice::<Option<Explanation>>(json).unwrap()
    };
    assert_eq!(ask("BTC_USD").await, None);
    plugin.tick("99", "100");
    plugin.version(1).await;
    let explanation = ask("BTC_USD").await.unwrap();
    assert_eq!(explanation.sources[0].verdict, Verdict::Used);
    assert_eq!(explanation.customer, plugin.host.quote(pair()).unwrap().customer.ok().map(|customer| customer.price));
    assert_eq!(ask("ETH_USD").await, None);
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_asked_and_when_its_inbox_closes() {
    let mut plugin = Running::start(RecordingHost::new(), ZERO);
    plugin.ctx.cancel_token().cancel();
    plugin.ended().await.unwrap();

    let mut plugin = Running::start(RecordingHost::new(), ZERO);
    plugin.host.close_inboxes();
    plugin.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_it_is_left_alone() {
    let plugin = Running::start(RecordingHost::new(), ZERO);
    plugin.tick("99", "100");
    plugin.version(1).await;
    let Payload::Rate(rate) = &plugin.host.messages()[0].payload else { panic!("a rate was published") };
    let mislabelled = Rate { pair: "ETH_USD".parse().unwrap(), ..Rate::clone(rate) };
    plugin.publish(&Subject::rate(rate.source, pair()), mislabelled);
    plugin.publish(&"rates.get".parse().unwrap(), Payload::Bytes(b"BTC_USD".as_slice().into()));
    plugin.publish(&"spreads.BTC_USD".parse().unwrap(), Payload::Bytes(b"0".as_slice().into()));
    plugin.tick("98", "100");
    assert_eq!(plugin.version(2).await.bid.to_string(), "98");
    assert_eq!(plugin.quotes().len(), 2);
}

/// The problems of a config, one a line; empty if it is accepted.
fn problems(config: &str) -> String {
    match serde_json::from_str(config) {
        Err(error) => format!("not read: {error}"),
        Ok(config) => {
            Spread::build(config, &env("spread", &[])).map_or_else(|error| error.to_string(), |_| String::new())
        }
    }
}

#[test]
fn a_config_that_makes_sense_is_accepted() {
    for config in [
        "{}",
        ZERO,
        r#"{"default": {"buy": "0.5", "sell": {"unit": "bps", "value": "25"}}}"#,
        r#"{"default": {"buy": {"value": "-1"}, "sell": {"unit": "absolute", "value": "1"}}}"#,
        r#"{"default": {"buy": {"unit": "percent", "value": "1.5"}, "sell": {"unit": "percent", "value": "99.9"}}}"#,
    ] {
        assert_eq!(problems(config), "", "{config}");
    }
}

#[test]
fn a_config_that_does_not_is_refused_by_name() {
    for (config, problem) in [
        (
            r#"{"default": {"buy": "1,5", "sell": {"unit": "bps", "value": "x"}}}"#,
            "default.buy: \"1,5\" is not a decimal",
        ),
        (
            r#"{"default": {"buy": "1,5", "sell": {"unit": "bps", "value": "x"}}}"#,
            "default.sell.value: \"x\" is not a decimal",
        ),
        (
            r#"{"default": {"buy": "-1", "sell": "0.5"}}"#,
            "default: the customer's sell price would be above the buy price",
        ),
        (
            r#"{"default": {"buy": "0", "sell": {"unit": "percent", "value": "100"}}}"#,
            "default: the customer's sell price",
        ),
        (r#"{"default": {"buy": "0"}}"#, "missing field `sell`"),
        (r#"{"default": {"buy": 0.5, "sell": "0"}}"#, "expected a decimal number in quotes, or a table"),
        (r#"{"default": {"buy": {"unit": "pips", "value": "1"}, "sell": "0"}}"#, "unknown variant `pips`"),
        (r#"{"default": {"buy": {"valu": "1"}, "sell": "0"}}"#, "unknown field `valu`"),
        (r#"{"defaults": {}}"#, "unknown field `defaults`"),
    ] {
        assert!(problems(config).contains(problem), "{config}: {}", problems(config));
    }
}
