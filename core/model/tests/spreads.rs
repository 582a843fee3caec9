//! Which spread holds for a pair.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use ratebus_model::{Adjustment, Effective, Rule, Scope, Sides, Spread, SpreadTable, Timestamp, decimal::Decimal};

fn rule(units: i64) -> Rule {
    let value = Adjustment::absolute(Decimal::from(units));
    Rule::from_markup(Sides { buy: value, sell: value })
}

fn spread(scope: &str, revision: u64, rule: Option<Rule>) -> Spread {
    let scope = scope.parse().unwrap();
    Spread { scope, rule, revision, updated_by: "admin@example.com".to_owned(), updated_at: Timestamp::from_millis(0) }
}

/// The rule's units, its scope and its revision.
fn holds(table: &SpreadTable, pair: &str) -> Option<(Rule, Option<Scope>, u64)> {
    table.effective(pair.parse().unwrap()).map(|Effective { rule, scope, revision }| (rule, scope, revision))
}

#[test]
fn the_most_specific_spread_wins() {
    let pair: Scope = "BTC_USD".parse().unwrap();
    let mut table = SpreadTable::new(Some(rule(1)));
    assert_eq!(holds(&table, "BTC_USD"), Some((rule(1), None, 0)));
    assert!(table.apply(spread("*", 1, Some(rule(2)))));
    assert_eq!(holds(&table, "BTC_USD"), Some((rule(2), Some(Scope::All), 1)));
    assert!(table.apply(spread("BTC_USD", 1, Some(rule(3)))));
    assert_eq!(holds(&table, "BTC_USD"), Some((rule(3), Some(pair), 1)));
    assert_eq!(holds(&table, "ETH_USD"), Some((rule(2), Some(Scope::All), 1)));
}

#[test]
fn a_removed_spread_gives_way_to_the_next() {
    let mut table = SpreadTable::new(Some(rule(1)));
    table.apply(spread("BTC_USD", 1, Some(rule(3))));
    table.apply(spread("*", 1, Some(rule(2))));
    assert!(table.apply(spread("BTC_USD", 2, None)));
    assert_eq!(holds(&table, "BTC_USD"), Some((rule(2), Some(Scope::All), 1)));
    assert!(table.apply(spread("*", 2, None)));
    assert_eq!(holds(&table, "BTC_USD"), Some((rule(1), None, 0)));
}

#[test]
fn no_spread_is_not_a_spread_of_zero() {
    let mut table = SpreadTable::new(None);
    assert_eq!(holds(&table, "BTC_USD"), None);
    table.apply(spread("BTC_USD", 1, Some(rule(0))));
    assert!(holds(&table, "BTC_USD").is_some());
    table.apply(spread("BTC_USD", 2, None));
    assert_eq!(holds(&table, "BTC_USD"), None);
}

#[test]
fn an_older_revision_changes_nothing() {
    let mut table = SpreadTable::new(None);
    assert!(table.apply(spread("BTC_USD", 5, None)));
    for revision in [5, 4, 1] {
        assert!(!table.apply(spread("BTC_USD", revision, Some(rule(3)))), "{revision}");
    }
    assert_eq!(holds(&table, "BTC_USD"), None, "a removal is not undone by what came before it");
    assert!(table.apply(spread("BTC_USD", 6, Some(rule(3)))));
}
