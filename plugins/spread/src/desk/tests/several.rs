//! Whatever several sources say in whatever order: what is shown against the rules, written down once more and slowly.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ratebus_sdk::{
    PriceMethod,
    model::{SourceName, cross, median},
};

use super::*;

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
const RETURN_AFTER: Duration = Duration::from_secs(15);

/// Anything that may happen.
#[derive(Debug, Clone)]
enum Event {
    Rate { source: usize, pair: &'static str, cents: u32, width: u32, market: Market, reference: bool },
    Pause(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let market = prop_oneof![12 => Just(Market::Online), 1 => Just(Market::Maintenance)];
    let cents = prop_oneof![6 => 10_000..10_150_u32, 1 => 9_000..12_000_u32];
    let pair = prop_oneof![3 => Just("BTC_USD"), 1 => Just("EUR_USD")];
    let rate = (0..SOURCES.len(), pair, cents, 0..60_u32, market, prop::bool::weighted(0.15)).prop_map(
        |(source, pair, cents, width, market, reference)| Event::Rate { source, pair, cents, width, market, reference },
    );
    prop_oneof![5 => rate, 2 => (0..6_000_u64).prop_map(Event::Pause), 1 => (0..70_000_u64).prop_map(Event::Pause)]
}

fn any_settings() -> impl Strategy<Value = PairSettings> {
    let limit = || prop::option::of(20..300_u32);
    let order = prop::sample::select(vec![&[][..], &["c", "a", "b", "d"][..]]);
    (order, prop::bool::ANY, 1..=3_usize, limit(), limit()).prop_map(
        |(order, is_median, quorum, deviation, disagreement)| PairSettings {
            price: if is_median { PriceMethod::Median } else { PriceMethod::First },
            quorum: is_median.then_some(quorum),
            max_deviation_bps: deviation,
            max_disagreement_bps: disagreement,
            return_after: Some(RETURN_AFTER),
            ..sources(order)
        },
    )
}

/// What was said so far, of one pair.
#[derive(Default)]
struct Heard {
    rates: BTreeMap<SourceName, Rate>,
    /// Since when each source that was not good is good again, if it is.
    back_since: HashMap<SourceName, Option<Instant>>,
    shown: Option<Arc<Quote>>,
}

impl Heard {
    /// The fresh rates of a kind, without outliers.
    fn good(&self, kind: RateKind, settings: &PairSettings, now: Instant) -> Vec<&Rate> {
        let is_fresh = |rate: &&Rate| rate.status(now) == Status::Fresh && rate.value.kind() == kind;
        let fresh: Vec<&Rate> = self.rates.values().filter(is_fresh).collect();
        let all: Vec<_> = fresh.iter().map(|rate| rate.value.sides()).collect();
        let Some(bps) = settings.max_deviation_bps.filter(|_| all.len() >= 3) else { return fresh };
        let median = median::of(&all).unwrap();
        fresh.into_iter().filter(|rate| !median::is_apart(rate.value.sides(), median, bps)).collect()
    }

    fn all_good(&self, settings: &PairSettings, now: Instant) -> Vec<&Rate> {
        [RateKind::TwoSided, RateKind::Reference].map(|kind| self.good(kind, settings, now)).concat()
    }

    fn note(&mut self, settings: &PairSettings, now: Instant) {
        let good: Vec<SourceName> = self.all_good(settings, now).iter().map(|rate| rate.source).collect();
        for &source in self.rates.keys() {
            if !good.contains(&source) {
                self.back_since.insert(source, None);
            } else if let Some(since) = self.back_since.get_mut(&source) {
                since.get_or_insert(now);
            }
        }
    }

    fn is_seasoned(&self, source: SourceName, now: Instant) -> bool {
        let is_long_ago = |since: Instant| now.saturating_duration_since(since) >= RETURN_AFTER;
        self.back_since.get(&source).is_none_or(|since| since.is_some_and(is_long_ago))
    }

    /// Takes a new quote: one whose version is the next.
    fn publish(&mut self, quote: &Arc<Quote>, is_news: bool) {
        let next = self.shown.as_ref().map_or(Version::first(OURS), |before| before.version.next());
        assert!(!is_news || quote.version == next, "{:?} after {:?}", quote.version, self.shown);
        self.shown = Some(Arc::clone(quote));
    }

    fn check(&self, settings: &PairSettings, before: Option<&Quote>, now: Instant) {
        let Some(quote) = &self.shown else {
            assert!(self.rates.is_empty() || settings.price == PriceMethod::Median, "a rate and no quote");
            return;
        };
        assert!(quote.bid <= quote.ask);
        assert_eq!(quote.published_status, quote.status(now), "the quote is not what it says");
        match (settings.price, quote.customer) {
            (PriceMethod::First, Ok(_)) => self.check_first(quote, settings, before, now),
            (PriceMethod::Median, Ok(_)) => self.check_median(quote, settings, now),
            (PriceMethod::Median, Err(Withheld::NoQuorum)) => {
                for kind in [RateKind::TwoSided, RateKind::Reference] {
                    assert!(self.good(kind, settings, now).len() < settings.quorum.unwrap(), "there is a quorum");
                }
            }
            (PriceMethod::First, Err(Withheld::Disagreement)) => {
                let (bps, shown) = (settings.max_disagreement_bps.unwrap(), self.rates[&quote.source].value.sides());
                let is_near = |rate: &&Rate| !median::is_apart(rate.value.sides(), shown, bps);
                assert!(!self.all_good(settings, now).iter().any(is_near), "one that is near could take over");
            }
            (PriceMethod::Median, Err(Withheld::Disagreement)) => assert!(settings.max_disagreement_bps.is_some()),
            (_, Err(other)) => panic!("{other:?}"),
        }
        assert!(quote.customer.is_ok() || quote.published_status >= Status::Stale);
    }

    fn check_first(&self, quote: &Quote, settings: &PairSettings, before: Option<&Quote>, now: Instant) {
        let used = &self.rates[&quote.source];
        assert_eq!((quote.bid, quote.ask, quote.kind), (used.value.bid(), used.value.ask(), used.value.kind()));
        assert_eq!((quote.confirmed_at, &*quote.sources), (used.confirmed_at, &[quote.source][..]));
        let good = self.all_good(settings, now);
        let is_good = |source: SourceName| good.iter().any(|rate| rate.source == source);
        if settings.max_disagreement_bps.is_none() && !good.is_empty() {
            assert!(is_good(quote.source), "{} is used and others are good", quote.source);
        }
        // From a good one there is only a way to a preferred one that has been good for long enough.
        if let Some(before) = before.filter(|before| before.source != quote.source && is_good(before.source)) {
            let place = |source| settings.sources.iter().position(|&listed| listed == source);
            assert!(place(quote.source) < place(before.source), "no reason to leave {}", before.source);
            assert!(self.is_seasoned(quote.source, now), "{} is back too early", quote.source);
        }
    }

    fn check_median(&self, quote: &Quote, settings: &PairSettings, now: Instant) {
        let good = self.good(quote.kind, settings, now);
        let used: Vec<&Rate> = good.iter().copied().filter(|rate| quote.sources.contains(&rate.source)).collect();
        assert_eq!(used.len(), quote.sources.len(), "only good ones of one kind are used");
        assert!(used.len() >= settings.quorum.unwrap());
        for left_out in good.iter().filter(|rate| !quote.sources.contains(&rate.source)) {
            assert!(!self.is_seasoned(left_out.source, now), "{} is left out", left_out.source);
        }
        if used.iter().any(|rate| !self.is_seasoned(rate.source, now)) {
            for kind in [RateKind::TwoSided, RateKind::Reference] {
                let good = self.good(kind, settings, now);
                let seasoned = good.iter().filter(|rate| self.is_seasoned(rate.source, now)).count();
                assert!(seasoned < settings.quorum.unwrap(), "one that is not back for long is used without need");
            }
        }
        let sides: Vec<_> = used.iter().map(|rate| rate.value.sides()).collect();
        assert_eq!(median::of(&sides), Some(Sides { buy: quote.ask, sell: quote.bid }));
        assert!(settings.max_disagreement_bps.is_none_or(|bps| !median::any_apart(&sides, bps)));
        assert_eq!(Some(quote.confirmed_at), used.iter().map(|rate| rate.confirmed_at).min());
    }
}

/// The cross is what its legs make it, and never better off than they.
fn check_cross(cross: &Quote, legs: [&Quote; 2], now: Instant) {
    if let Some(doubt) = legs.iter().find_map(|leg| leg.customer.err()) {
        assert_eq!(cross.customer, Err(doubt));
        return;
    }
    let through = cross::legs(cross.pair, &legs.map(|leg| leg.pair)).unwrap();
    let priced: Vec<_> = through.into_iter().zip(legs.map(|leg| Sides { buy: leg.ask, sell: leg.bid })).collect();
    assert_eq!(cross::price(&priced, cross.step), Some(Sides { buy: cross.ask, sell: cross.bid }));
    assert!(cross.bid <= cross.ask && cross.customer.is_ok());
    assert_eq!(cross.confirmed_at, legs[0].confirmed_at.min(legs[1].confirmed_at));
    assert_eq!(cross.published_status, legs[0].status(now).max(legs[1].status(now)), "as good as the worse leg");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_they_say_the_rules_hold(
        settings in any_settings(),
        events in prop::collection::vec(any_event(), 1..120),
    ) {
        let legs = ["BTC_USD", "EUR_USD"];
        let cross = PairSettings { cross: legs.map(|leg| leg.parse().unwrap()).into(), ..PairSettings::default() };
        let config = [(legs[0], settings.clone()), (legs[1], settings.clone()), ("BTC_EUR", cross)];
        let mut bench = Bench::new(Some("0"), &config);
        let mut heard: HashMap<Pair, Heard> = HashMap::new();
        for event in events {
            let now = bench.arrival().at;
            let publications = match event {
                Event::Pause(millis) => {
                    // Each moment at which something may change is waited for, as the plugin does.
                    let end = bench.now + millis;
                    let mut publications = Vec::new();
                    while let Some(wake_at) = bench.desk.wake_at() {
                        let due = u64::try_from((wake_at - bench.start).as_nanos().div_ceil(1_000_000)).unwrap();
                        if due > end {
                            break;
                        }
                        bench.now = due.max(bench.now);
                        publications.extend(bench.wake());
                        let now = bench.arrival().at;
                        for known in heard.values_mut() {
                            known.note(&settings, now);
                        }
                    }
                    bench.now = end;
                    publications
                }
                Event::Rate { source, pair, cents, width, market, reference } => {
                    let of = |cents: u32| Price::new(decimal::Decimal::new(cents.into(), 2)).unwrap();
                    let value = if reference {
                        RateValue::Reference { price: of(cents) }
                    } else {
                        RateValue::TwoSided { bid: of(cents), ask: of(cents + width) }
                    };
                    let rate = Rate { value, market, ..bench.rate(SOURCES[source], pair, "1", "1") };
                    let known = heard.entry(rate.pair).or_default();
                    known.note(&settings, now);
                    known.rates.insert(rate.source, rate.clone());
                    bench.send(&rate).unwrap()
                }
            };
            let before: HashMap<Pair, Option<Arc<Quote>>> =
                heard.iter().map(|(&pair, known)| (pair, known.shown.clone())).collect();
            let several = publications.len() > 3;
            for Publication { quote, news, .. } in publications {
                let quote = quote.unwrap();
                heard.entry(quote.pair).or_default().publish(&quote, news.is_some());
            }
            let now = bench.arrival().at;
            let shown = |pair: &str| heard.get(&pair.parse().unwrap()).and_then(|known| known.shown.clone());
            if let (Some(cross), Some(btc), Some(eur)) = (shown("BTC_EUR"), shown(legs[0]), shown(legs[1])) {
                check_cross(&cross, [&btc, &eur], now);
            }
            for leg in legs.map(|leg| leg.parse::<Pair>().unwrap()) {
                let Some(known) = heard.get_mut(&leg) else { continue };
                // Of several changes in one pause only the last is looked at.
                let before = before[&leg].as_deref().filter(|_| !several);
                known.note(&settings, now);
                known.check(&settings, before, now);
            }
        }
    }
}
