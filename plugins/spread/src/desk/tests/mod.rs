mod anything;
mod crosses;
mod explain;
mod gone;
mod several;
mod sources;

use std::{collections::HashMap, time::Duration};

use ratebus_sdk::model::{
    Adjustment, Limits, Market, Payload, Price, RateKind, RateValue, Sides, Timestamp, Version, Withheld, decimal,
};

use super::*;

const LIMITS: Limits = Limits::STREAM;
const OURS: Epoch = Epoch::new(99);

/// A desk and the moments at which it is spoken to, counted in milliseconds.
struct Bench {
    desk: Desk,
    start: Instant,
    now: u64,
    /// The version of the last message, per subject.
    sent: HashMap<Subject, Version>,
    /// The quotes so far, of tests that look at several.
    shown: Vec<Arc<Quote>>,
}

impl Publication {
    /// The quote of a pair that has one.
    fn quote(&self) -> Arc<Quote> {
        self.quote.clone().unwrap()
    }
}

impl Bench {
    fn new(default: Option<&str>, config: &[(&str, PairSettings)]) -> Self {
        let pairs: PairTable =
            config.iter().map(|(pair, settings)| (pair.parse().unwrap(), settings.clone())).collect();
        let crosses = PairSettings::crosses(&pairs).unwrap();
        let default = default.map(|value| markup(value, value));
        let settings =
            Settings { default, stored: false, pairs: Arc::new(pairs), crosses, reference: CompatReference::Sides };
        Self::with(settings)
    }

    fn with(settings: Settings) -> Self {
        Self { desk: Desk::new(settings, OURS), start: Instant::now(), now: 0, sent: HashMap::new(), shown: Vec::new() }
    }

    fn arrival(&self) -> Arrival {
        let passed = Duration::from_millis(self.now);
        Arrival { time: Timestamp::from_millis(1_789_000_000_000).plus(passed), at: self.start + passed }
    }

    /// A rate that its feed vouches for now.
    fn rate(&self, source: &str, pair: &str, bid: &str, ask: &str) -> Rate {
        Rate {
            source: source.parse().unwrap(),
            pair: pair.parse().unwrap(),
            value: RateValue::TwoSided { bid: price(bid), ask: price(ask) },
            market: Market::Online,
            event_time: None,
            recv_time: self.arrival().time,
            confirmed_at: self.arrival().at,
            limits: LIMITS,
            version: Version::first(Epoch::new(1)),
        }
    }

    fn next_version(&mut self, subject: &Subject) -> Version {
        let version = self.sent.get(subject).map_or(Version::first(Epoch::new(1)), |sent| sent.next());
        self.sent.insert(subject.clone(), version);
        version
    }

    fn send(&mut self, rate: &Rate) -> Result<Vec<Publication>, Dropped> {
        let version = self.next_version(&Subject::rate(rate.source, rate.pair));
        self.send_as(rate, version)
    }

    fn send_as(&mut self, rate: &Rate, version: Version) -> Result<Vec<Publication>, Dropped> {
        let message = self.message(Subject::rate(rate.source, rate.pair), rate.clone(), version);
        self.desk.rate(&message, rate, self.arrival())
    }

    /// Sends a rate and expects a new quote.
    fn tick(&mut self, source: &str, pair: &str, bid: &str, ask: &str) -> Arc<Quote> {
        let publication = self.send(&self.rate(source, pair, bid, ask)).unwrap().remove(0);
        assert!(publication.news.is_some());
        publication.quote()
    }

    fn set(&mut self, scope: &str, revision: u64, rule: Option<Rule>) -> Result<Vec<Publication>, Dropped> {
        let scope = scope.parse().unwrap();
        let spread = Spread { scope, rule, revision, updated_by: "admin".to_owned(), updated_at: self.arrival().time };
        let version = self.next_version(&Subject::spread(scope));
        let message = self.message(Subject::spread(scope), spread.clone(), version);
        self.desk.spread(&message, &spread, self.arrival())
    }

    fn wake(&mut self) -> Vec<Publication> {
        self.desk.wake(self.arrival())
    }

    fn message(&self, subject: Subject, payload: impl Into<Payload>, version: Version) -> Message {
        let published_at = self.arrival().time;
        Message { subject, reply: None, headers: Vec::new(), payload: payload.into(), version, published_at }
    }
}

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

fn markup(buy: &str, sell: &str) -> Rule {
    Rule::from_markup(Sides { buy, sell }.map(|value| Adjustment::absolute(decimal::parse(value).unwrap())))
}

fn sources(names: &[&str]) -> PairSettings {
    PairSettings { sources: names.iter().map(|name| name.parse().unwrap()).collect(), ..PairSettings::default() }
}

/// The customer's prices as text: buy / sell.
fn shown(quote: &Quote) -> String {
    let Sides { buy, sell } = quote.customer.unwrap().price;
    format!("{buy} / {sell}")
}

#[test]
fn a_rate_becomes_a_quote_with_the_default_spread() {
    let mut bench = Bench::new(Some("0.5"), &[]);
    let quote = bench.tick("kraken", "BTC_USD", "99", "100.0");
    assert_eq!(shown(&quote), "100.50 / 98.50");
    assert_eq!(quote.version, Version::first(OURS));
    assert_eq!(quote.rule.map(|rule| (rule.scope, rule.revision)), Some((None, 0)));
}

#[test]
fn without_any_spread_the_raw_rate_is_shown_and_no_customer_price() {
    let mut bench = Bench::new(None, &[]);
    let quote = bench.tick("kraken", "BTC_USD", "99", "100");
    assert_eq!((quote.customer, quote.rule), (Err(Withheld::NoSpread), None));
    assert_eq!(quote.original, Sides { buy: price("100"), sell: price("99") });
}

#[test]
fn a_spread_reprices_at_once_and_only_what_it_changes() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", "BTC_USD", "99", "100");
    bench.tick("kraken", "ETH_USD", "9", "10");
    let changed = bench.set("BTC_USD", 1, Some(markup("1", "2"))).unwrap();
    assert_eq!(changed.iter().map(|p| shown(&p.quote())).collect::<Vec<_>>(), ["101.00 / 97.00"]);
    let changed = bench.set("*", 1, Some(markup("3", "3"))).unwrap();
    assert_eq!(changed.iter().map(|p| p.subject.as_str()).collect::<Vec<_>>(), ["quotes.ETH_USD"]);
    let changed = bench.set("BTC_USD", 2, None).unwrap();
    assert_eq!(changed.iter().map(|p| shown(&p.quote())).collect::<Vec<_>>(), ["103.00 / 96.00"]);
    assert!(bench.set("BTC_USD", 2, Some(markup("1", "1"))).unwrap().is_empty(), "an old revision");
}

#[test]
fn an_equal_spread_of_a_new_revision_is_a_new_version() {
    let mut bench = Bench::new(None, &[]);
    assert!(bench.set("BTC_USD", 1, Some(markup("1", "1"))).unwrap().is_empty(), "no rate yet");
    assert_eq!(bench.tick("kraken", "BTC_USD", "99", "100").version.sequence, 1);
    assert_eq!(bench.set("BTC_USD", 2, Some(markup("1", "1"))).unwrap()[0].quote().version.sequence, 2);
}

#[test]
fn a_spread_under_another_scopes_name_is_dropped() {
    let mut bench = Bench::new(None, &[]);
    bench.tick("kraken", "BTC_USD", "99", "100");
    let scope = Scope::Pair("BTC_USD".parse().unwrap());
    let rule = Some(markup("1", "1"));
    let spread = Spread { scope, rule, revision: 1, updated_by: String::new(), updated_at: bench.arrival().time };
    let message = bench.message(Subject::spread(Scope::All), spread.clone(), Version::first(OURS));
    assert_eq!(bench.desk.spread(&message, &spread, bench.arrival()).map(drop), Err(Dropped::Mislabelled));
}

#[test]
fn a_spread_the_market_has_outgrown_is_withheld_until_it_fits_again() {
    let mut bench = Bench::new(Some("-0.4"), &[]);
    assert_eq!(shown(&bench.tick("kraken", "BTC_USD", "99", "100")), "99.60 / 99.40");
    let quote = bench.tick("kraken", "BTC_USD", "99.5", "100");
    assert_eq!(quote.customer, Err(Withheld::InvalidSpread));
    assert!(quote.rule.is_some());
    assert_eq!(shown(&bench.tick("kraken", "BTC_USD", "99", "100")), "99.60 / 99.40");
}

#[test]
fn the_default_does_not_stand_in_for_a_stored_spread_that_is_not_known_yet() {
    let default = Some(markup("0", "0"));
    let settings = Settings {
        default,
        stored: true,
        pairs: Arc::default(),
        crosses: Vec::new(),
        reference: CompatReference::Sides,
    };
    let mut bench = Bench::with(settings);
    let quote = bench.tick("kraken", "BTC_USD", "99", "100");
    assert_eq!(quote.customer, Err(Withheld::SpreadsUnknown));
    bench.tick("kraken", "ETH_USD", "9", "10");
    // One of them is there: another may still come, so nothing is priced by it.
    assert!(bench.set("*", 1, Some(markup("5", "5"))).unwrap().is_empty());
    let now = bench.arrival();
    let quotes = bench.desk.spreads_known(now);
    let prices: Vec<String> = quotes.iter().map(|publication| shown(&publication.quote())).collect();
    assert_eq!(prices, ["105.00 / 94.00", "15.00 / 4.00"]);
}

#[test]
fn the_original_projects_reference_is_the_ask_on_both_sides() {
    let rule =
        Rule::from_adjustments(Sides { buy: "450", sell: "433" }.map(|v| Adjustment::absolute(v.parse().unwrap())));
    let settings = Settings {
        default: Some(rule),
        stored: false,
        pairs: Arc::default(),
        crosses: Vec::new(),
        reference: CompatReference::Ask,
    };
    let quote = Bench::with(settings).tick("kraken", "BTC_USD", "20240", "20249");
    assert_eq!(shown(&quote), "20699.00 / 20682.00");
    assert_eq!((quote.bid, quote.ask), (price("20240"), price("20249")));
}

#[test]
fn the_step_is_the_finest_seen_and_never_coarsens() {
    let mut bench = Bench::new(Some("0"), &[]);
    let sides = [("99", "100"), ("99.123", "100"), ("99.1", "100"), ("99", "100.12345")];
    let steps = sides.map(|(bid, ask)| bench.tick("kraken", "BTC_USD", bid, ask).step);
    assert_eq!(steps, ["0.01", "0.001", "0.001", "0.00001"].map(price));
    let settings = PairSettings { price_step: Some(price("0.5")), ..PairSettings::default() };
    let mut bench = Bench::new(Some("0"), &[("BTC_USD", settings)]);
    assert_eq!(shown(&bench.tick("kraken", "BTC_USD", "99.123", "100.1")), "100.5 / 99.0");
}

#[test]
fn what_the_feed_only_vouches_for_again_keeps_its_version() {
    let mut bench = Bench::new(Some("0"), &[]);
    let first = bench.tick("kraken", "BTC_USD", "99.0", "100");
    bench.now = 1_000;
    let again = Rate { recv_time: first.recv_time, ..bench.rate("kraken", "BTC_USD", "99.00", "100") };
    let publication = bench.send(&again).unwrap().remove(0);
    assert!(publication.news.is_none());
    assert_eq!(publication.quote().confirmed_at, bench.arrival().at);
    assert_eq!(*publication.quote(), Quote { confirmed_at: bench.arrival().at, ..Quote::clone(&first) });
    assert_eq!(publication.quote().bid.to_string(), "99.0", "one version has one text");
    assert!(bench.send(&again).unwrap().is_empty(), "nothing moved");
}

#[test]
fn a_silent_feed_makes_its_quotes_stale_then_dead() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", "BTC_USD", "99", "100");
    let mut seen = Vec::new();
    while let Some(wake_at) = bench.desk.wake_at() {
        bench.now = u64::try_from((wake_at - bench.start).as_millis()).unwrap();
        assert!(bench.wake().is_empty(), "not before the limit is passed");
        bench.now += 1;
        seen.extend(bench.wake().iter().map(|p| (bench.now, p.quote().published_status, p.quote().version.sequence)));
    }
    assert_eq!(seen, [(10_001, Status::Stale, 2), (60_001, Status::Dead, 3)]);
    assert_eq!(bench.tick("kraken", "BTC_USD", "99", "100").published_status, Status::Fresh);
}

#[test]
fn a_quote_made_at_the_very_limit_still_becomes_stale() {
    let mut bench = Bench::new(Some("0"), &[]);
    let confirmed_at = bench.arrival().at;
    bench.now = 10_000;
    let rate = Rate { confirmed_at, ..bench.rate("kraken", "BTC_USD", "99", "100") };
    assert_eq!(bench.send(&rate).unwrap().remove(0).quote().published_status, Status::Fresh);
    bench.now = 10_001;
    assert_eq!(bench.wake()[0].quote().published_status, Status::Stale);
}

#[test]
fn a_market_that_stops_matching_is_stale_at_once() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", "BTC_USD", "99", "100");
    let halted = Rate { market: Market::Maintenance, ..bench.rate("kraken", "BTC_USD", "99", "100") };
    let quote = bench.send(&halted).unwrap().remove(0).quote();
    assert_eq!((quote.market, quote.published_status, quote.version.sequence), (Market::Maintenance, Status::Stale, 2));
}

#[test]
fn late_and_repeated_messages_and_left_epochs_are_dropped() {
    let mut bench = Bench::new(Some("0"), &[]);
    let [first, second, third] = [1, 2, 3].map(Epoch::new);
    let mut send = |bid: &str, epoch, sequence| {
        let rate = bench.rate("kraken", "BTC_USD", bid, "100");
        bench.send_as(&rate, Version { epoch, sequence }).map(|publications| publications[0].quote().bid.to_string())
    };
    assert_eq!(send("91", first, 5).as_deref(), Ok("91"));
    assert_eq!(send("92", first, 5), Err(Dropped::NotNewer));
    assert_eq!(send("92", first, 4), Err(Dropped::NotNewer));
    assert_eq!(send("93", second, 1).as_deref(), Ok("93"), "a publisher that started anew");
    assert_eq!(send("94", first, 6), Err(Dropped::LeftEpoch));
    assert_eq!(send("95", third, 1).as_deref(), Ok("95"));
    assert_eq!(send("96", second, 2), Err(Dropped::LeftEpoch));
    assert_eq!(send("96", first, 7), Err(Dropped::LeftEpoch));
    assert_eq!(send("97", third, 2).as_deref(), Ok("97"));
    // What is remembered of left epochs is bounded.
    for epoch in 10..30 {
        assert!(send(&epoch.to_string(), Epoch::new(epoch), 1).is_ok());
    }
    assert_eq!(send("99", Epoch::new(28), 2), Err(Dropped::LeftEpoch));
}

#[test]
fn a_rate_under_another_name_is_dropped() {
    let mut bench = Bench::new(Some("0"), &[]);
    let rate = bench.rate("kraken", "BTC_USD", "99", "100");
    for subject in ["rates.kraken.ETH_USD", "rates.acme.BTC_USD", "quotes.BTC_USD", "rates.kraken.BTC_USD.x"] {
        let message = bench.message(subject.parse().unwrap(), rate.clone(), Version::first(Epoch::new(1)));
        let answer = bench.desk.rate(&message, &rate, bench.arrival());
        assert_eq!(answer.map(drop), Err(Dropped::Mislabelled), "{subject}");
    }
    assert_eq!(bench.desk.by_freshness(), (0, Vec::new()), "no trace of it");
}

#[test]
fn a_crossed_rate_is_dropped() {
    let mut bench = Bench::new(Some("0"), &[]);
    let crossed = bench.rate("kraken", "BTC_USD", "101", "100");
    assert_eq!(bench.send(&crossed).map(drop), Err(Dropped::Crossed));
    assert!(bench.tick("kraken", "BTC_USD", "100", "100").customer.is_ok(), "locked is allowed");
}

#[test]
fn only_listed_sources_price_a_pair_the_first_listed_preferred() {
    let mut bench = Bench::new(Some("0"), &[("BTC_USD", sources(&["kraken", "acme"]))]);
    let other = bench.rate("other", "BTC_USD", "1", "2");
    assert_eq!(bench.send(&other).map(drop), Err(Dropped::SourceNotAllowed));
    assert_eq!(bench.tick("acme", "BTC_USD", "90", "100").source.as_str(), "acme");
    assert_eq!(bench.tick("kraken", "BTC_USD", "91", "100").source.as_str(), "kraken");
    let acme = bench.rate("acme", "BTC_USD", "92", "100");
    assert!(bench.send(&acme).unwrap().is_empty(), "not the one shown");
    bench.now = 9_000;
    let acme = bench.rate("acme", "BTC_USD", "93", "100");
    assert!(bench.send(&acme).unwrap().is_empty());
    bench.now = 10_001;
    let quotes: Vec<_> =
        bench.wake().iter().map(|p| (p.quote().source.to_string(), p.quote().published_status)).collect();
    assert_eq!(quotes, [("acme".to_owned(), Status::Fresh)], "the other takes over the moment the first is stale");
    let back = bench.rate("kraken", "BTC_USD", "94", "100");
    assert!(bench.send(&back).unwrap().is_empty(), "not at once");
    for now in [19_000, 28_000, 37_000] {
        bench.now = now;
        let acme = bench.rate("acme", "BTC_USD", "93", "100");
        assert_eq!(bench.send(&acme).unwrap().remove(0).quote().source.as_str(), "acme");
        let kraken = bench.rate("kraken", "BTC_USD", "94", "100");
        assert!(bench.send(&kraken).unwrap().is_empty());
    }
    bench.now = 40_001;
    assert_eq!(bench.wake()[0].quote().source.as_str(), "kraken", "but when it has been good for a while");
}

#[test]
fn without_an_order_the_source_stays_until_it_is_not_fresh() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", "BTC_USD", "90", "100");
    for now in [3_000, 6_000] {
        bench.now = now;
        for source in ["acme", "other"] {
            let rate = bench.rate(source, "BTC_USD", "91", "100");
            assert!(bench.send(&rate).unwrap().is_empty(), "no flapping");
        }
    }
    bench.now = 7_000;
    let freshest = bench.rate("other", "BTC_USD", "92", "100");
    assert!(bench.send(&freshest).unwrap().is_empty());
    bench.now = 10_001;
    assert_eq!(bench.wake()[0].quote().source.as_str(), "other", "the freshest takes over");
    let back = bench.rate("kraken", "BTC_USD", "93", "100");
    assert!(bench.send(&back).unwrap().is_empty(), "and stays");
}

#[test]
fn stale_sources_do_not_flap_either() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", "BTC_USD", "90", "100");
    let acme = bench.rate("acme", "BTC_USD", "91", "100");
    assert!(bench.send(&acme).unwrap().is_empty());
    bench.now = 20_000;
    assert_eq!(bench.wake()[0].quote().source.as_str(), "kraken", "both are stale");
    let stale =
        Rate { confirmed_at: bench.start + Duration::from_secs(5), ..bench.rate("acme", "BTC_USD", "92", "100") };
    assert!(bench.send(&stale).unwrap().is_empty());
    bench.now = 60_001;
    let quote = &bench.wake()[0].quote();
    assert_eq!((quote.source.as_str(), quote.published_status), ("acme", Status::Stale), "stale before dead");
}

#[test]
fn news_tells_a_new_price_from_a_new_status() {
    let mut bench = Bench::new(Some("0"), &[]);
    let news = |publication: &Publication| publication.news.map(|news| (news.tick.is_some(), news.status));
    let first = bench.rate("kraken", "BTC_USD", "99", "100");
    assert_eq!(news(&bench.send(&first).unwrap().remove(0)), Some((false, true)), "possibly replayed from long ago");
    bench.now = 1;
    let second = bench.rate("kraken", "BTC_USD", "99.1", "100");
    assert_eq!(news(&bench.send(&second).unwrap().remove(0)), Some((true, false)));
    assert_eq!(news(&bench.set("*", 1, Some(markup("1", "1"))).unwrap()[0]), Some((false, false)));
    bench.now = 10_002;
    assert_eq!(news(&bench.wake()[0]), Some((false, true)));
}
