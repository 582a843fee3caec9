//! What is said of how a price came about.

use ratebus_sdk::PriceMethod;
use serde_json::{Value, json};

use super::*;

const PAIR: &str = "BTC_USD";

impl Bench {
    fn explained(&self, pair: &str) -> Value {
        serde_json::to_value(self.desk.explain(pair.parse().unwrap(), self.arrival()).unwrap()).unwrap()
    }

    /// Each source, whether it is used, and what is said of it.
    fn verdicts(&self) -> String {
        let explained = self.explained(PAIR);
        let of = |report: &Value| {
            let sign = if report["used"] == true { "+" } else { "-" };
            format!("{sign}{} {}", report["source"].as_str().unwrap(), report["verdict"].as_str().unwrap())
        };
        explained["sources"].as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(", ")
    }

    fn tell(&mut self, source: &str, bid: &str, ask: &str) {
        let rate = self.rate(source, PAIR, bid, ask);
        let _what_is_refused_too = self.send(&rate);
    }
}

fn steps(explained: &Value) -> Vec<String> {
    let text = |calculation: &Value| {
        let inputs: Vec<&str> = calculation["inputs"].as_array().unwrap().iter().map(|i| i.as_str().unwrap()).collect();
        format!("{} = {}", inputs.join(" "), calculation["result"].as_str().unwrap())
    };
    let of = |step: &Value| {
        format!("{}: {}; {}", step["operation"].as_str().unwrap(), text(&step["buy"]), text(&step["sell"]))
    };
    explained["steps"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn every_source_is_named_with_what_became_of_it() {
    let settings = PairSettings {
        price: PriceMethod::Median,
        max_deviation_bps: Some(100),
        ..sources(&["a", "b", "c", "d", "e", "f"])
    };
    let mut bench = Bench::new(Some("0.5"), &[(PAIR, settings)]);
    bench.tell("f", "99", "101");
    bench.now = 30_000;
    for (source, bid, ask) in [("a", "99", "101"), ("b", "99.5", "101.5"), ("c", "150", "151"), ("g", "1", "2")] {
        bench.tell(source, bid, ask);
    }
    let reference = RateValue::Reference { price: price("100") };
    let reference = Rate { value: reference, ..bench.rate("d", PAIR, "1", "1") };
    bench.send(&reference).unwrap();
    let halted = Rate { market: Market::Maintenance, ..bench.rate("e", PAIR, "99", "101") };
    bench.send(&halted).unwrap();
    bench.tell("e", "3", "2");
    assert_eq!(bench.verdicts(), "+a used, +b used, -c outlier, -d other_kind, -e crossed, -f stale, -g not_listed");
    for now in [39_000, 48_000, 57_000, 60_001] {
        bench.now = now;
        bench.tell("a", "99", "101");
        bench.tell("b", "99.5", "101.5");
    }
    bench.tell("e", "99", "101");
    let after = bench.verdicts();
    assert_eq!(after, "+a used, +b used, -c stale, -d stale, -e returning, -f dead, -g not_listed");
    let dead = &bench.explained(PAIR)["sources"][5];
    assert_eq!((&dead["rate"]["original"], &dead["rate"]["status"]), (&Value::Null, &json!("dead")));
}

#[test]
fn each_step_has_its_numbers() {
    let settings = PairSettings { price: PriceMethod::Median, ..PairSettings::default() };
    let mut bench = Bench::new(None, &[(PAIR, settings)]);
    bench.tell("a", "99", "101");
    bench.tell("b", "99.5", "101.25");
    let rule = Rule::from_markup(Sides {
        buy: Adjustment { unit: ratebus_sdk::model::Unit::Bps, value: decimal::parse("25").unwrap() },
        sell: Adjustment::absolute(decimal::parse("0.123").unwrap()),
    });
    bench.set("*", 3, Some(rule)).unwrap();
    let explained = bench.explained(PAIR);
    assert_eq!(
        steps(&explained),
        [
            "median: 101 101.25 = 101.125; 99 99.5 = 99.25",
            "spread: 101.125 25 = 101.3778125; 99.25 -0.123 = 99.127",
            "round: 101.3778125 0.01 = 101.38; 99.127 0.01 = 99.12",
        ]
    );
    assert_eq!(explained["original"], json!({ "buy": "101.125", "sell": "99.25" }));
    assert_eq!(explained["customer"], json!({ "buy": "101.38", "sell": "99.12" }));
    assert_eq!(
        explained["rule"],
        json!({ "scope": "*", "revision": 3, "buy": { "unit": "bps", "value": "25" },
            "sell": { "unit": "absolute", "value": "0.123" } })
    );
    assert_eq!((&explained["method"], &explained["priceStep"]), (&json!("median"), &json!("0.01")));
}

#[test]
fn a_cross_names_its_legs() {
    let cross = PairSettings { cross: ["BTC_USD", "EUR_USD"].map(|leg| leg.parse().unwrap()).into(), ..sources(&[]) };
    let config = [("BTC_USD", sources(&[])), ("EUR_USD", sources(&[])), ("BTC_EUR", cross)];
    let mut bench = Bench::new(Some("0"), &config);
    bench.tell("a", "81413.2", "81413.3");
    let before = bench.explained("BTC_EUR");
    assert_eq!((&before["original"], &before["status"], &before["steps"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(before["legs"][1]["original"], Value::Null);
    let euro = bench.rate("b", "EUR_USD", "1.08001", "1.08003");
    bench.send(&euro).unwrap();
    let explained = bench.explained("BTC_EUR");
    assert_eq!(steps(&explained)[0], "cross: 81413.3 1.08001 = 75381.99; 81413.2 1.08003 = 75380.49");
    let divides: Vec<&Value> = explained["legs"].as_array().unwrap().iter().map(|leg| &leg["divides"]).collect();
    assert_eq!((divides, &explained["method"]), (vec![&json!(false), &json!(true)], &json!("cross")));
}

#[test]
fn without_a_price_it_says_why() {
    let settings =
        PairSettings { price: PriceMethod::Median, max_disagreement_bps: Some(10), ..PairSettings::default() };
    let mut bench = Bench::new(Some("0"), &[(PAIR, settings)]);
    bench.tell("a", "99", "101");
    assert_eq!(bench.explained(PAIR)["withheld"], json!("no_quorum"));
    bench.tell("b", "99", "101");
    bench.tell("b", "109", "111");
    let explained = bench.explained(PAIR);
    let price = (&explained["original"], &explained["customer"], &explained["steps"]);
    assert_eq!(price, (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(
        (&explained["withheld"], bench.verdicts().as_str()),
        (&json!("disagreement"), "-a disagreement, -b disagreement")
    );
    bench.tell("b", "99", "101");
    bench.set(PAIR, 1, Some(markup("-3", "0"))).unwrap();
    let explained = bench.explained(PAIR);
    assert_eq!((&explained["customer"], &explained["withheld"]), (&Value::Null, &json!("invalid_spread")));
    assert_eq!(steps(&explained).last().unwrap(), "spread: 101 -3 = 98; 99 0 = 99");
    assert!(bench.desk.explain("ETH_USD".parse().unwrap(), bench.arrival()).is_none());
}
