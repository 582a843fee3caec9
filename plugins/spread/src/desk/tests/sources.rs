//! One price from several sources.

use super::*;

use metrics_exporter_prometheus::PrometheusBuilder;
use ratebus_sdk::{PriceMethod, model::SourceName};

const PAIR: &str = "BTC_USD";

fn median(names: &[&str]) -> PairSettings {
    PairSettings { price: PriceMethod::Median, ..sources(names) }
}

fn bench(settings: PairSettings) -> Bench {
    Bench::new(Some("0"), &[(PAIR, settings)])
}

impl Bench {
    /// What a source says makes whatever difference it makes.
    fn say(&mut self, source: &str, bid: &str, ask: &str) {
        let rate = self.rate(source, PAIR, bid, ask);
        self.show(&rate);
    }

    fn say_reference(&mut self, source: &str, value: &str) {
        let value = RateValue::Reference { price: price(value) };
        let rate = Rate { value, ..self.rate(source, PAIR, "1", "1") };
        self.show(&rate);
    }

    fn show(&mut self, rate: &Rate) {
        let publications = self.send(rate).unwrap();
        self.shown.extend(publications.into_iter().map(|publication| publication.quote()));
    }

    /// All of these say again what they said, at `now`.
    fn repeat(&mut self, now: u64, prices: &[(&str, &str, &str)]) {
        self.now = now;
        for (source, bid, ask) in prices {
            self.say(source, bid, ask);
        }
        let woken = self.wake();
        self.shown.extend(woken.into_iter().map(|publication| publication.quote()));
    }

    /// The last quote: its sources, and the market's bid and ask or why the customer gets no price.
    fn last(&mut self) -> String {
        let woken = self.wake();
        self.shown.extend(woken.into_iter().map(|publication| publication.quote()));
        let Some(quote) = self.shown.last() else { return "nothing".to_owned() };
        let sources: Vec<&str> = quote.sources.iter().map(SourceName::as_str).collect();
        let sources = sources.join("+");
        match quote.customer {
            Ok(_) => format!("{sources} {} {}", quote.bid, quote.ask),
            Err(reason) => format!("{sources} {}", reason.as_str()),
        }
    }
}

#[test]
fn a_median_is_of_each_side_over_the_same_sources() {
    let mut bench = bench(median(&["a", "b", "c"]));
    bench.say("a", "99.0", "103");
    assert_eq!(bench.last(), "nothing", "one is no quorum");
    bench.say("b", "100", "102.5");
    assert_eq!(bench.last(), "a+b 99.5 102.75", "of two the mean");
    bench.say("c", "98", "104");
    assert_eq!(bench.last(), "a+b+c 99.0 103");
    let quote = bench.shown.last().unwrap();
    assert_eq!((quote.source.as_str(), quote.kind), ("median", RateKind::TwoSided));
    assert_eq!(quote.step, price("0.01"), "a mean's further decimal is nobody's");
}

#[test]
fn a_median_is_as_old_as_its_oldest_source_and_goes_on_without_it() {
    let mut bench = bench(median(&["a", "b", "c"]));
    bench.say("a", "99", "103");
    bench.repeat(4_000, &[("b", "100", "102"), ("c", "98", "104")]);
    let quote = bench.shown.last().unwrap();
    assert_eq!((quote.confirmed_at, quote.recv_time), (bench.start, Timestamp::from_millis(1_789_000_000_000)));
    bench.now = 10_000;
    assert_eq!(bench.last(), "a+b+c 99 103");
    bench.now = 10_001;
    assert_eq!(bench.last(), "b+c 99 103", "the moment one is stale");
    bench.now = 14_001;
    assert_eq!(bench.last(), "b+c no_quorum");
    let quote = bench.shown.last().unwrap();
    assert_eq!((quote.published_status, quote.bid), (Status::Stale, price("99")), "the last one is shown, and marked");
    bench.now = 64_001;
    assert_eq!(bench.wake()[0].quote().published_status, Status::Dead);
}

#[test]
fn limits_of_their_own_hold_for_each_source_of_a_median() {
    let mut bench = bench(median(&["fast", "slow"]));
    let slow = Limits { stale_after: Duration::from_mins(5), dead_after: Duration::from_mins(15) };
    let rate = Rate { limits: slow, ..bench.rate("slow", PAIR, "99", "101") };
    bench.show(&rate);
    bench.now = 60_000;
    bench.say("fast", "99", "101");
    bench.now = 70_000;
    assert_eq!(bench.last(), "fast+slow 99 101");
    bench.now = 70_001;
    assert_eq!(bench.last(), "fast+slow no_quorum");
}

#[test]
fn an_outlier_is_left_out_and_returns_only_after_a_while() {
    let settings = PairSettings { max_deviation_bps: Some(100), ..median(&["a", "b", "c"]) };
    let mut bench = bench(settings);
    let (a, b, off, back) = (("a", "100", "101"), ("b", "100", "101"), ("c", "103", "104"), ("c", "100", "103"));
    bench.repeat(0, &[a, b, off]);
    assert_eq!(bench.last(), "a+b 100 101");
    bench.repeat(5_000, &[a, b, back]);
    assert_eq!(bench.last(), "a+b 100 101");
    for now in [14_000, 23_000, 32_000, 34_999] {
        bench.repeat(now, &[a, b, back]);
        assert_eq!(bench.last(), "a+b 100 101");
    }
    bench.now = 35_000;
    assert_eq!(bench.last(), "a+b+c 100 101", "by time alone");
    bench.repeat(36_000, &[a, b, off]);
    assert_eq!(bench.last(), "a+b 100 101");
}

#[test]
fn a_source_that_has_returned_is_used_at_once_where_there_is_no_quorum_without_it() {
    let mut bench = bench(median(&["a", "b"]));
    bench.repeat(0, &[("a", "99", "101"), ("b", "99", "101")]);
    bench.repeat(8_000, &[("a", "99", "101")]);
    bench.now = 10_001;
    assert_eq!(bench.last(), "a+b no_quorum");
    bench.repeat(12_000, &[("b", "98", "101")]);
    assert_eq!(bench.last(), "a+b 98.5 101");
}

#[test]
fn sources_too_far_apart_give_no_price() {
    let settings = PairSettings { max_disagreement_bps: Some(100), ..median(&["a", "b"]) };
    let mut bench = bench(settings);
    bench.repeat(0, &[("a", "100", "100"), ("b", "101", "101")]);
    assert_eq!(bench.last(), "a+b 100.5 100.5", "at the limit");
    bench.say("b", "101", "101.1");
    assert_eq!(bench.last(), "a+b disagreement");
    assert_eq!(bench.shown.last().unwrap().published_status, Status::Stale);
    bench.say("a", "100", "100.1");
    assert_eq!(bench.last(), "a+b 100.5 100.6");
    assert_eq!(bench.shown.last().unwrap().published_status, Status::Fresh);
}

#[test]
fn two_sided_prices_and_references_are_not_mixed() {
    let mut bench = bench(median(&["a", "b", "c", "d"]));
    bench.say_reference("c", "200");
    bench.say("a", "99", "101");
    assert_eq!(bench.last(), "nothing", "one of each kind");
    bench.say_reference("d", "201");
    assert_eq!(bench.last(), "c+d 200.5 200.5");
    assert_eq!(bench.shown.last().unwrap().kind, RateKind::Reference);
    bench.say("b", "99", "102");
    assert_eq!(bench.last(), "a+b 99 101.5", "two-sided ones are better");
    assert_eq!(bench.shown.last().unwrap().kind, RateKind::TwoSided);
}

#[test]
fn a_source_that_comes_and_goes_is_not_gone_back_to() {
    let mut bench = bench(sources(&["a", "b"]));
    bench.repeat(0, &[("a", "99", "101"), ("b", "98", "100")]);
    assert_eq!(bench.last(), "a 99 101");
    let mut seen = Vec::new();
    for second in 1..100 {
        bench.now = second * 1_000;
        bench.say("b", "98", "100");
        if second % 12 == 0 {
            bench.say("a", "99", "101");
        }
        seen.push(bench.last());
    }
    seen.dedup();
    assert_eq!(seen, ["a 99 101", "b 98 100"]);
}

#[test]
fn an_outlier_gives_way_to_the_others() {
    let settings = PairSettings { max_deviation_bps: Some(100), ..sources(&["a", "b", "c"]) };
    let mut bench = bench(settings);
    bench.repeat(0, &[("a", "100", "101"), ("b", "100", "101"), ("c", "100", "101")]);
    assert_eq!(bench.last(), "a 100 101");
    bench.say("a", "110", "111");
    assert_eq!(bench.last(), "b 100 101");
}

#[test]
fn a_source_too_far_from_the_price_shown_does_not_take_over_silently() {
    let settings = PairSettings { max_disagreement_bps: Some(100), ..sources(&["a", "b"]) };
    let mut bench = bench(settings.clone());
    bench.repeat(0, &[("b", "98", "98"), ("a", "100", "100")]);
    assert_eq!(bench.last(), "b 98 98", "the preferred one comes, and is too far away");
    bench.say("a", "98.5", "98.5");
    assert_eq!(bench.last(), "a 98.5 98.5");
    bench.repeat(8_000, &[("b", "100", "100")]);
    bench.now = 10_001;
    assert_eq!(bench.last(), "a disagreement");
    bench.say("b", "99", "99");
    assert_eq!(bench.last(), "b 99 99", "as soon as it is near");

    let mut bench = super::sources::bench(settings);
    bench.repeat(0, &[("a", "100", "100")]);
    for second in 1..=60 {
        bench.repeat(second * 1_000, &[("b", "90", "90")]);
    }
    assert_eq!(bench.last(), "a disagreement");
    bench.now = 60_001;
    assert_eq!(bench.last(), "b 90 90", "what is dead contradicts nobody");
}

#[test]
fn of_two_that_could_take_over_the_one_that_is_near_does() {
    let settings = PairSettings { max_disagreement_bps: Some(100), ..sources(&["a", "b", "c"]) };
    let mut bench = bench(settings);
    bench.repeat(0, &[("a", "100", "100")]);
    bench.repeat(5_000, &[("b", "90", "90"), ("c", "100.5", "100.5")]);
    assert_eq!(bench.last(), "a 100 100");
    bench.now = 10_001;
    assert_eq!(bench.last(), "c 100.5 100.5");
    bench.say("b", "100", "100");
    assert_eq!(bench.last(), "b 100 100", "as soon as it is near");
}

#[test]
fn a_market_that_stands_still_does_not_contradict_for_ever() {
    let mut bench = bench(PairSettings { max_disagreement_bps: Some(100), ..sources(&["a", "b"]) });
    bench.repeat(0, &[("a", "100", "100"), ("b", "90", "90")]);
    for second in 1..=51 {
        bench.now = second * 1_000;
        bench.say("b", "90", "90");
        let halted = Rate { market: Market::Maintenance, ..bench.rate("a", PAIR, "100", "100") };
        bench.show(&halted);
        let expected = if second <= 50 { "a disagreement" } else { "b 90 90" };
        assert_eq!(bench.last(), expected, "after {second} s");
    }
}

#[test]
fn a_pair_that_never_had_enough_sources_is_told_of_once_they_have_had_their_time() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let counted = || recorder.handle().render().contains(r#"ratebus_quotes_withheld_total{reason="no_quorum"} 1"#);
    let mut bench = bench(median(&["a", "b"]));
    bench.say("a", "99", "100");
    for now in [0, 9_999] {
        bench.repeat(now, &[("a", "99", "100")]);
        assert!(!counted(), "{now}");
    }
    bench.now = 10_000;
    assert_eq!(bench.last(), "nothing");
    for now in [10_001, 60_000] {
        assert!(counted(), "{now}");
        bench.repeat(now, &[("a", "99", "100")]);
    }
    bench.say("b", "99", "100");
    assert_eq!(bench.last(), "a+b 99 100");
}
