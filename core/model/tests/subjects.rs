//! Patterns against a matcher that follows their definition word by word.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use ratebus_model::{Pattern, Scope, Subject};

/// `*` is any one token, `>` at the end is one or more.
fn matches(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([">"], [_, ..]) | ([], []) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => matches(pattern, subject),
        ([wanted, pattern @ ..], [found, subject @ ..]) => wanted == found && matches(pattern, subject),
        _ => false,
    }
}

fn tokens(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(of), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wildcards_mean_what_they_say(subject in tokens(&["a", "b"]), pattern in tokens(&["a", "b", "*", ">"])) {
        let whole: Subject = subject.join(".").parse().unwrap();
        let read = pattern.join(".").parse::<Pattern>();
        let tail_in_the_middle = pattern[..pattern.len() - 1].contains(&">");
        prop_assert_eq!(read.is_err(), tail_in_the_middle);
        let Ok(read) = read else { return Ok(()) };
        prop_assert_eq!(read.matches(&whole), matches(&pattern, &subject));
        prop_assert_eq!(read.is_literal(), !pattern.contains(&"*") && !pattern.contains(&">"));
        prop_assert_eq!(read.tokens().collect::<Vec<_>>(), pattern);
    }

    #[test]
    fn a_subject_is_a_pattern_of_itself_alone(one in tokens(&["a", "b"]), other in tokens(&["a", "b"])) {
        let (one, other): (Subject, Subject) = (one.join(".").parse().unwrap(), other.join(".").parse().unwrap());
        prop_assert_eq!(Pattern::from(one.clone()).matches(&other), one == other);
    }

    #[test]
    fn any_text_is_read_as_a_subject_or_refused(text in "[ -~.*>\u{e9}\n]{0,20}") {
        let good = text.split('.').all(|t| !t.is_empty() && t.chars().all(|c| c.is_ascii_graphic() && !"*>".contains(c)));
        prop_assert_eq!(text.parse::<Subject>().map(|s| s.to_string()).ok(), good.then_some(text));
    }
}

#[test]
fn well_known_subjects_and_patterns_are_valid() {
    let (pair, source) = ("1INCH_USD".parse().unwrap(), "acme-2".parse().unwrap());
    for (subject, text) in [
        (Subject::rate(source, pair), "rates.acme-2.1INCH_USD"),
        (Subject::pairs(source), "pairs.acme-2"),
        (Subject::quote(pair), "quotes.1INCH_USD"),
        (Subject::spread(Scope::Pair(pair)), "spreads.1INCH_USD"),
        (Subject::spread(Scope::All), "spreads._default"),
    ] {
        assert_eq!(subject.as_str(), text);
        assert_eq!(text.parse::<Subject>(), Ok(subject));
    }
    for pattern in [Pattern::rates(), Pattern::pairs(), Pattern::quotes(), Pattern::spreads()] {
        assert_eq!(pattern.as_str().parse::<Pattern>(), Ok(pattern));
    }
}

#[test]
fn long_subjects_are_refused() {
    assert!("a".repeat(255).parse::<Subject>().is_ok());
    assert!("a".repeat(256).parse::<Subject>().is_err());
    assert!("a".repeat(256).parse::<Pattern>().is_err());
}
