//! Whatever happens, in any order: a desk against what was said so far, kept as simply as can be.

use proptest::prelude::*;
use ratebus_sdk::model::{SourceName, pricing};

use super::*;

/// Anything that may happen to a desk.
#[derive(Debug, Clone)]
enum Event {
    Rate { source: &'static str, pair: &'static str, bid: u32, width: i32, scale: u32, market: Market, age: u64 },
    Repeat { source: &'static str, pair: &'static str },
    Spread { scope: &'static str, revision: u64, buy: i64, sell: i64, removed: bool },
    Pause(u64),
}

const PAIRS: [&str; 3] = ["BTC_USD", "ETH_USD", "ETH_BTC"];

fn any_event() -> impl Strategy<Value = Event> {
    let source = || prop::sample::select(vec!["kraken", "acme", "other"]);
    let pair = || prop::sample::select(PAIRS.to_vec());
    let market = prop_oneof![9 => Just(Market::Online), 1 => Just(Market::NotMatching)];
    let age = prop_oneof![3 => Just(0), 1 => 0..80_000_u64];
    let rate = (source(), pair(), 1..50_000_u32, -50..500_i32, 0..5_u32, market, age).prop_map(
        |(source, pair, bid, width, scale, market, age)| Event::Rate { source, pair, bid, width, scale, market, age },
    );
    let repeat = (source(), pair()).prop_map(|(source, pair)| Event::Repeat { source, pair });
    let scope = prop_oneof![pair(), Just("*")];
    let spread = (scope, 0..12_u64, -300..300_i64, -300..300_i64, prop::bool::weighted(0.2))
        .prop_map(|(scope, revision, buy, sell, removed)| Event::Spread { scope, revision, buy, sell, removed });
    let pause = prop_oneof![0..3_000_u64, 0..70_000_u64].prop_map(Event::Pause);
    prop_oneof![6 => rate, 1 => repeat, 2 => spread, 3 => pause]
}

/// What was said so far.
#[derive(Default)]
struct Heard {
    rates: HashMap<(SourceName, Pair), Rate>,
    spreads: HashMap<Scope, (u64, Option<Rule>)>,
    scales: HashMap<Pair, u32>,
    shown: HashMap<Pair, Arc<Quote>>,
}

impl Heard {
    fn spread(&mut self, scope: Scope, revision: u64, rule: Option<Rule>) {
        if self.spreads.get(&scope).is_none_or(|&(known, _)| known < revision) {
            self.spreads.insert(scope, (revision, rule));
        }
    }

    fn rule(&self, pair: Pair, default: Option<Rule>) -> Option<Rule> {
        let set = |scope| self.spreads.get(&scope).and_then(|&(_, rule)| rule);
        set(Scope::Pair(pair)).or_else(|| set(Scope::All)).or(default)
    }

    /// Checks what a client would see change.
    fn publish(&mut self, publications: impl IntoIterator<Item = Publication>) {
        for publication in publications {
            let (quote, Publication { subject, news, .. }) = (publication.quote(), publication);
            assert_eq!(subject, Subject::quote(quote.pair));
            match self.shown.get(&quote.pair) {
                None => assert_eq!(quote.version, Version::first(OURS)),
                Some(before) if news.is_some() => assert_eq!(quote.version, before.version.next()),
                Some(before) => {
                    assert_ne!(quote.confirmed_at, before.confirmed_at);
                    assert_eq!(*quote, Quote { confirmed_at: quote.confirmed_at, ..Quote::clone(before) });
                }
            }
            self.shown.insert(quote.pair, quote);
        }
    }

    /// Checks that every pair shows what it should, now.
    fn check(&self, now: Instant, default: Option<Rule>) {
        for pair in PAIRS.map(|pair| pair.parse::<Pair>().unwrap()) {
            let rates: Vec<&Rate> = self.rates.values().filter(|rate| rate.pair == pair).collect();
            let Some(quote) = self.shown.get(&pair) else {
                assert!(rates.is_empty(), "{pair} is not shown");
                continue;
            };
            let rate = &self.rates[&(quote.source, pair)];
            assert_eq!((quote.bid, quote.ask), (rate.value.bid(), rate.value.ask()), "{pair} is of its own source");
            assert_eq!((quote.confirmed_at, quote.market), (rate.confirmed_at, rate.market));
            assert_eq!(quote.published_status, rate.status(now), "{pair} is not said to be fresher than it is");
            assert!(rates.iter().all(|other| rate.status(now) <= other.status(now)), "{pair} has a better source");
            assert!(quote.bid <= quote.ask);
            let expected = match self.rule(pair, default) {
                None => Err(Withheld::NoSpread),
                Some(rule) => {
                    let step = pricing::step_of_scale(self.scales[&pair]);
                    pricing::price(Sides { buy: quote.ask, sell: quote.bid }, &rule, step)
                        .map_err(|_| Withheld::InvalidSpread)
                }
            };
            assert_eq!(quote.customer, expected, "{pair}");
            if let Ok(customer) = quote.customer {
                assert!(customer.price.sell <= customer.price.buy);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_pair_shows_what_it_should(
        default in prop::option::of(prop::sample::select(vec!["0", "0.5"])),
        events in prop::collection::vec(any_event(), 1..100),
    ) {
        let mut bench = Bench::new(default, &[]);
        let default = default.map(|value| markup(value, value));
        let mut heard = Heard::default();
        for event in events {
            match event {
                Event::Rate { source, pair, bid, width, scale, market, age } => {
                    let cents = |value: i64| Price::new(decimal::Decimal::new(value, scale));
                    let sides = (cents(bid.into()), cents(i64::from(bid) + i64::from(width)));
                    let (Some(bid), Some(ask)) = sides else { continue };
                    let confirmed_at = bench.arrival().at.checked_sub(Duration::from_millis(age)).unwrap();
                    let value = RateValue::TwoSided { bid, ask };
                    let rate = Rate { value, market, confirmed_at, ..bench.rate(source, pair, "1", "1") };
                    let answer = bench.send(&rate);
                    prop_assert_eq!(answer.is_err(), bid > ask);
                    let Ok(publication) = answer else { continue };
                    let finest = heard.scales.entry(rate.pair).or_default();
                    *finest = (*finest).max(scale);
                    heard.rates.insert((rate.source, rate.pair), rate);
                    heard.publish(publication);
                }
                Event::Repeat { source, pair } => {
                    if heard.rates.contains_key(&(source.parse().unwrap(), pair.parse().unwrap())) {
                        let late = bench.rate(source, pair, "7", "7");
                        let answer = bench.send_as(&late, Version::first(Epoch::new(1)));
                        prop_assert_eq!(answer.map(drop), Err(Dropped::NotNewer));
                    }
                }
                Event::Spread { scope, revision, buy, sell, removed } => {
                    let value = |units| Adjustment::absolute(decimal::Decimal::new(units, 1));
                    let rule = (!removed).then(|| Rule::from_markup(Sides { buy: value(buy), sell: value(sell) }));
                    heard.spread(scope.parse().unwrap(), revision, rule);
                    heard.publish(bench.set(scope, revision, rule).unwrap());
                }
                Event::Pause(millis) => bench.now += millis,
            }
            heard.publish(bench.wake());
            heard.check(bench.arrival().at, default);
            let fresh = heard.shown.values().filter(|quote| quote.published_status == Status::Fresh).count();
            prop_assert_eq!(bench.desk.by_freshness().0, fresh);
        }
    }
}
