//! Pairs that a source serves no more.

use ratebus_sdk::model::PairState;

use super::*;

const PAIR: &str = "BTC_USD";

impl Bench {
    /// A source says that it serves the pair no more.
    fn end(&mut self, source: &str, pair: &str) -> Vec<Publication> {
        let subject = Subject::rate(source.parse().unwrap(), pair.parse().unwrap());
        let version = self.next_version(&subject);
        let message = self.message(subject, Payload::Gone, version);
        self.desk.gone(&message, self.arrival()).unwrap()
    }
}

#[test]
fn a_pair_that_nobody_serves_is_gone_at_once_and_comes_back_a_later_version() {
    let mut bench = Bench::new(Some("0"), &[]);
    let before = bench.tick("kraken", PAIR, "99", "100");
    let ended = bench.end("kraken", PAIR);
    assert_eq!((ended.len(), &ended[0].quote), (1, &None));
    assert_eq!(ended[0].subject, Subject::quote(PAIR.parse().unwrap()));
    assert!(bench.end("kraken", PAIR).is_empty(), "it is told once");
    assert!(bench.desk.explain(PAIR.parse().unwrap(), bench.arrival()).is_none());
    assert_eq!(bench.desk.by_freshness(), (0, Vec::new()), "nobody waits for it");
    bench.now += 120_000;
    assert!(bench.wake().is_empty());

    let back = bench.tick("kraken", PAIR, "101", "102");
    let told = before.not_served().version;
    assert!(back.version.is_after(told) && told.is_after(before.version), "{told:?} {:?}", back.version);
    assert_eq!(bench.desk.by_freshness(), (1, Vec::new()));
}

#[test]
fn what_was_said_before_the_end_does_not_come_after_it() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", PAIR, "99", "100");
    let subject = Subject::rate("kraken".parse().unwrap(), PAIR.parse().unwrap());
    let before = bench.sent[&subject];
    bench.end("kraken", PAIR);
    let late = bench.rate("kraken", PAIR, "99", "100");
    assert_eq!(bench.send_as(&late, before).unwrap_err(), Dropped::NotNewer);
}

#[test]
fn the_others_go_on_without_a_source_that_is_gone() {
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", PAIR, "99", "100");
    bench.send(&bench.rate("other", PAIR, "98", "101")).unwrap();
    let quote = bench.end("kraken", PAIR).remove(0).quote();
    assert_eq!((quote.source.as_str(), quote.bid.to_string()), ("other", "98".to_owned()));
    let explained = bench.desk.explain(PAIR.parse().unwrap(), bench.arrival()).unwrap();
    assert_eq!(explained.sources.len(), 1, "{explained:?}");
    assert!(bench.end("kraken", PAIR).is_empty(), "it said nothing since");
}

#[test]
fn a_cross_goes_with_its_leg_and_comes_back_with_it() {
    let cross =
        PairSettings { cross: ["BTC_USD", "EUR_USD"].map(|leg| leg.parse().unwrap()).to_vec(), ..Default::default() };
    let leg = PairSettings::default();
    let mut bench = Bench::new(Some("0"), &[("BTC_EUR", cross), ("BTC_USD", leg.clone()), ("EUR_USD", leg)]);
    bench.tick("kraken", "BTC_USD", "99", "100");
    bench.send(&bench.rate("kraken", "EUR_USD", "1.1", "1.2")).unwrap();
    let ended = bench.end("kraken", "EUR_USD");
    let subjects: Vec<_> = ended.iter().map(|ended| (ended.subject.as_str(), ended.quote.is_none())).collect();
    assert_eq!(subjects, [("quotes.EUR_USD", true), ("quotes.BTC_EUR", true)]);
    assert_eq!(bench.desk.by_freshness(), (1, vec!["BTC_EUR".parse().unwrap()]), "the config still asks for it");
    let back = bench.send(&bench.rate("kraken", "EUR_USD", "1.1", "1.2")).unwrap();
    assert_eq!(back[1].quote().version.sequence, 3);
}

#[test]
fn what_a_source_does_not_list_is_gone_when_it_is_dead() {
    let list = |pairs: &[&str]| PairList {
        source: "kraken".parse().unwrap(),
        pairs: pairs.iter().map(|pair| (pair.parse().unwrap(), PairState::Subscribed)).collect(),
    };
    let mut bench = Bench::new(Some("0"), &[]);
    bench.tick("kraken", PAIR, "99", "100");
    bench.tick("kraken", "ETH_USD", "9", "10");
    assert!(bench.desk.list(&list(&["ETH_USD"]), bench.arrival()).is_empty(), "a live price stays");
    bench.now = 60_001;
    let woken = bench.wake();
    let told: Vec<_> = woken.iter().map(|told| (told.subject.as_str(), told.quote.is_none())).collect();
    assert_eq!(told, [("quotes.BTC_USD", true), ("quotes.ETH_USD", false)]);
    let told = bench.desk.list(&list(&[]), bench.arrival());
    assert_eq!((told[0].subject.as_str(), &told[0].quote), ("quotes.ETH_USD", &None));
    assert_eq!(bench.desk.by_freshness(), (0, Vec::new()));
    assert!(bench.tick("kraken", "ETH_USD", "9", "10").version.sequence > 3, "it comes back behind what was told");
}
