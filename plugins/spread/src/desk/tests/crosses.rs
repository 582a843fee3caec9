//! Pairs that are made from others.

use super::*;

fn crossing(legs: &[&str]) -> PairSettings {
    PairSettings { cross: legs.iter().map(|leg| leg.parse().unwrap()).collect(), ..PairSettings::default() }
}

fn bench(config: &[(&str, PairSettings)]) -> Bench {
    let legs = ["BTC_USD", "EUR_USD"].map(|leg| (leg, PairSettings::default()));
    Bench::new(Some("0"), &[&legs[..], config].concat())
}

impl Bench {
    /// The quotes that a rate changes, as text.
    fn changes(&mut self, source: &str, pair: &str, bid: &str, ask: &str) -> Vec<String> {
        let rate = self.rate(source, pair, bid, ask);
        self.send(&rate).unwrap().iter().map(|publication| told(&publication.quote())).collect()
    }

    fn woken(&mut self) -> Vec<String> {
        self.wake().iter().map(|publication| told(&publication.quote())).collect()
    }
}

fn told(quote: &Quote) -> String {
    let prices = match quote.customer {
        Ok(_) => format!("{} {}", quote.bid, quote.ask),
        Err(reason) => reason.as_str().to_owned(),
    };
    format!("{} {prices} {:?}", quote.pair, quote.published_status)
}

#[test]
fn a_cross_follows_its_legs() {
    let mut bench = bench(&[("BTC_EUR", crossing(&["BTC_USD", "EUR_USD"]))]);
    assert_eq!(bench.changes("a", "BTC_USD", "81413.2", "81413.3"), ["BTC_USD 81413.2 81413.3 Fresh"]);
    assert_eq!(
        bench.changes("b", "EUR_USD", "1.08001", "1.08003"),
        ["EUR_USD 1.08001 1.08003 Fresh", "BTC_EUR 75380.49 75381.99 Fresh"]
    );
    let legs_again = bench.changes("a", "BTC_USD", "81413.2", "81413.2");
    assert_eq!(legs_again, ["BTC_USD 81413.2 81413.2 Fresh", "BTC_EUR 75380.49 75381.90 Fresh"]);
    let spread = bench.set("BTC_EUR", 1, Some(markup("10", "10"))).unwrap();
    assert_eq!(spread.iter().map(|p| shown(&p.quote())).collect::<Vec<_>>(), ["75391.90 / 75370.49"]);
    let quote = &spread[0].quote();
    assert_eq!((quote.source.as_str(), quote.step), ("cross", price("0.01")));
    assert_eq!(quote.sources.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_cross_is_as_old_as_its_oldest_leg_and_no_fresher_than_any() {
    let mut bench = bench(&[("BTC_EUR", crossing(&["BTC_USD", "EUR_USD"]))]);
    bench.changes("a", "BTC_USD", "100", "100");
    bench.now = 4_000;
    bench.changes("a", "EUR_USD", "2", "2");
    bench.now = 10_001;
    assert_eq!(bench.woken(), ["BTC_USD 100 100 Stale", "BTC_EUR 50.00000 50.00000 Stale"]);
    bench.now = 11_000;
    assert_eq!(bench.changes("a", "BTC_USD", "100", "100")[1], "BTC_EUR 50.00000 50.00000 Fresh");
    let halted = Rate { market: Market::Maintenance, ..bench.rate("a", "EUR_USD", "2", "2") };
    let quote = &bench.send(&halted).unwrap()[1].quote();
    assert_eq!((quote.market, quote.published_status), (Market::Maintenance, Status::Stale));
    bench.now = 71_001;
    assert_eq!(bench.woken().len(), 3, "all are dead");
}

#[test]
fn legs_may_be_medians_and_crosses_themselves() {
    let median = PairSettings { price: ratebus_sdk::PriceMethod::Median, ..sources(&["a", "b"]) };
    let config =
        [("BTC_USD", median), ("EUR_BTC", crossing(&["BTC_EUR"])), ("BTC_EUR", crossing(&["BTC_USD", "EUR_USD"]))];
    let mut bench = bench(&config);
    bench.changes("c", "EUR_USD", "2", "2");
    assert!(bench.changes("a", "BTC_USD", "99", "101").is_empty(), "no quorum yet");
    assert_eq!(
        bench.changes("b", "BTC_USD", "99", "103"),
        ["BTC_USD 99 102 Fresh", "BTC_EUR 49.50000 51.00000 Fresh", "EUR_BTC 0.01960784 0.02020203 Fresh"]
    );
    bench.now = 9_000;
    bench.changes("a", "BTC_USD", "99", "101");
    bench.changes("c", "EUR_USD", "2", "2");
    bench.now = 10_001;
    let doubted = ["BTC_USD", "BTC_EUR", "EUR_BTC"].map(|pair| format!("{pair} no_quorum Stale"));
    assert_eq!(bench.woken(), doubted);
    assert_eq!(bench.changes("b", "BTC_USD", "99", "103").len(), 3, "and all are back");
}

#[test]
fn a_step_too_coarse_for_the_price_is_named() {
    let config = PairSettings { price_step: Some(price("0.01")), ..crossing(&["BTC_USD"]) };
    let mut bench = bench(&[("USD_BTC", config)]);
    assert_eq!(bench.changes("a", "BTC_USD", "50", "50")[1], "USD_BTC 0.02 0.02 Fresh");
    assert_eq!(bench.changes("a", "BTC_USD", "200", "200")[1], "USD_BTC out_of_range Stale", "not zero");
}

#[test]
fn sources_do_not_price_a_cross() {
    let mut bench = bench(&[("BTC_EUR", crossing(&["BTC_USD", "EUR_USD"]))]);
    let rate = bench.rate("a", "BTC_EUR", "1", "2");
    assert_eq!(bench.send(&rate).map(drop), Err(Dropped::SourceNotAllowed));
    assert_eq!(bench.desk.by_freshness(), (0, vec!["BTC_EUR".parse().unwrap()]), "it is waited for");
}

#[test]
fn a_cross_of_a_reference_is_one() {
    let mut bench = bench(&[("BTC_EUR", crossing(&["BTC_USD", "EUR_USD"]))]);
    bench.changes("a", "BTC_USD", "99", "101");
    let value = RateValue::Reference { price: price("3") };
    let rate = Rate { value, ..bench.rate("b", "EUR_USD", "1", "1") };
    let quote = &bench.send(&rate).unwrap()[1].quote();
    assert_eq!((quote.kind, quote.bid, quote.ask), (RateKind::Reference, price("33.00000"), price("33.66667")));
}
