use std::{fmt, str::FromStr, sync::Arc};

use crate::{Invalid, Pair, Scope, SourceName};

/// The longest subject or pattern accepted, in bytes.
const MAX_LEN: usize = 255;

/// Where a message goes: tokens joined by dots, `rates.kraken.BTC_USD`. Cheap to clone.
///
/// A token is one or more printable ASCII characters other than space, `.`, `*` and `>`. The same text is the subject
/// on NATS and the channel on Redis.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// `rates.<source>.<PAIR>`: what a source says of a pair.
    pub fn rate(source: SourceName, pair: Pair) -> Self {
        Self(format!("rates.{source}.{pair}").into())
    }

    /// The source and the pair that [`Subject::rate`] was made of, if this is one.
    pub fn as_rate(&self) -> Option<(SourceName, Pair)> {
        let (source, pair) = self.0.strip_prefix("rates.")?.split_once('.')?;
        Some((source.parse().ok()?, pair.parse().ok()?)).filter(|&(source, pair)| *self == Self::rate(source, pair))
    }

    /// `pairs.<source>`: the pairs a source serves and how their subscriptions stand.
    pub fn pairs(source: SourceName) -> Self {
        Self(format!("pairs.{source}").into())
    }

    /// `_INBOX.<32 hexadecimal digits>`: where one request awaits its answer.
    pub fn reply(random: u128) -> Self {
        Self(format!("_INBOX.{random:032x}").into())
    }

    /// Whether answers to one request come here, see [`Subject::reply`].
    pub fn is_reply(&self) -> bool {
        self.0.starts_with("_INBOX.")
    }

    /// `health.<32 hexadecimal digits>`: how a process is, in its own words.
    pub fn health(instance: u128) -> Self {
        Self(format!("health.{instance:032x}").into())
    }

    /// `quotes.<PAIR>`: what customers see.
    pub fn quote(pair: Pair) -> Self {
        Self(format!("quotes.{pair}").into())
    }

    /// The pair that [`Subject::quote`] was made of, if this is one.
    pub fn as_quote(&self) -> Option<Pair> {
        self.0.strip_prefix("quotes.")?.parse().ok().filter(|&pair| *self == Self::quote(pair))
    }

    /// `explain.<PAIR>`: asks how the pair's price came about; the answer is an [`Explanation`](crate::Explanation) as JSON,
    /// or `null`.
    pub fn explanation(pair: Pair) -> Self {
        Self(format!("explain.{pair}").into())
    }

    /// `spreads._known`: all stored spreads have been published; from now on a missing one is none.
    pub fn spreads_known() -> Self {
        Self("spreads._known".into())
    }

    /// `changes.spreads`: somebody has changed a spread in the database, where all instances read it.
    pub fn spreads_changed() -> Self {
        Self("changes.spreads".into())
    }

    /// `spreads.<PAIR>`; `*` cannot be a token, so its spread travels as `spreads._default`.
    pub fn spread(scope: Scope) -> Self {
        match scope {
            Scope::All => Self("spreads._default".into()),
            Scope::Pair(pair) => Self(format!("spreads.{pair}").into()),
        }
    }
}

impl FromStr for Subject {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() <= MAX_LEN && text.split('.').all(is_token) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new(text, "a subject such as rates.kraken.BTC_USD"))
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>')
}

/// Which subjects somebody wants: a subject in which a token may be `*` (any one token) and the last may be `>` (one or
/// more tokens). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// `rates.>`: what every source says of every pair.
    pub fn rates() -> Self {
        Self("rates.>".into())
    }

    /// `pairs.>`: the pairs of every source.
    pub fn pairs() -> Self {
        Self("pairs.>".into())
    }

    /// `_INBOX.>`: every answer to a request.
    pub fn replies() -> Self {
        Self("_INBOX.>".into())
    }

    /// `health.>`: how every process is.
    pub fn health() -> Self {
        Self("health.>".into())
    }

    /// `explain.*`: requests for explanations, of every pair.
    pub fn explanations() -> Self {
        Self("explain.*".into())
    }

    /// `quotes.>`: what customers see, of every pair.
    pub fn quotes() -> Self {
        Self("quotes.>".into())
    }

    /// `spreads.>`: every scope's spread.
    pub fn spreads() -> Self {
        Self("spreads.>".into())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The pattern of the subjects that both match; `None` if there are none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        let mut both = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some(">"), Some(token)) => {
                    both.push(token);
                    both.extend(theirs);
                    break;
                }
                (Some(token), Some(">")) => {
                    both.push(token);
                    both.extend(ours);
                    break;
                }
                (Some("*"), Some(token)) | (Some(token), Some("*")) => both.push(token),
                (Some(token), Some(same)) if token == same => both.push(token),
                _ => return None,
            }
        }
        // Too long for a pattern is too long for a subject.
        both.join(".").parse().ok()
    }

    /// Whether it has no wildcard, so that it matches just one subject.
    pub fn is_literal(&self) -> bool {
        self.tokens().all(|token| token != "*" && token != ">")
    }

    /// Whether `subject` is wanted.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut rest = subject.tokens();
        for wanted in self.tokens() {
            match (wanted, rest.next()) {
                (">", found) => return found.is_some(),
                (wanted, Some(found)) if wanted == "*" || wanted == found => {}
                _ => return false,
            }
        }
        rest.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (head, last) = text.rsplit_once('.').map_or((None, text), |(head, last)| (Some(head), last));
        let valid = text.len() <= MAX_LEN
            && (last == ">" || last == "*" || is_token(last))
            && head.is_none_or(|head| head.split('.').all(|token| token == "*" || is_token(token)));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new(text, "a pattern such as rates.*.BTC_USD or rates.>"))
        }
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        Self(subject.0)
    }
}

macro_rules! shown_as_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        crate::serde_as_text!($type);
    };
}
shown_as_text!(Subject);
shown_as_text!(Pattern);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_match_as_in_nats() {
        let cases = [
            ("rates.kraken.BTC_USD", "rates.kraken.BTC_USD", true),
            ("rates.*.BTC_USD", "rates.kraken.BTC_USD", true),
            ("rates.*", "rates.kraken.BTC_USD", false),
            ("rates.>", "rates.kraken.BTC_USD", true),
            ("rates.>", "rates", false),
            (">", "rates", true),
            ("*.*", "rates.kraken", true),
            ("rates.kraken.BTC_USD", "rates.kraken", false),
        ];
        for (pattern, subject, expected) in cases {
            let (pattern, subject) = (pattern.parse::<Pattern>().unwrap(), subject.parse::<Subject>().unwrap());
            assert_eq!(pattern.matches(&subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn what_two_patterns_have_in_common_is_a_pattern() {
        let cases = [
            ("a.b", "a.b", Some("a.b")),
            ("a.*", "*.b", Some("a.b")),
            ("a.>", "*.b.c", Some("a.b.c")),
            (">", "a.>", Some("a.>")),
            ("a.>", "a.*.>", Some("a.*.>")),
            ("*", ">", Some("*")),
            ("a.>", "a", None),
            ("a.*", "a.b.c", None),
            ("a.b", "a.c", None),
        ];
        for (one, other, expected) in cases {
            let [one, other] = [one, other].map(|text| text.parse::<Pattern>().unwrap());
            let common = [one.and(&other), other.and(&one)];
            assert_eq!(
                common.each_ref().map(|both| both.as_ref().map(Pattern::as_str)),
                [expected; 2],
                "{one} {other}"
            );
        }
        let long = |text: &str| text.replace('x', &"x".repeat(200)).parse::<Pattern>().unwrap();
        assert_eq!(long("x.*").and(&long("*.x")), None);
    }

    proptest! {
        #[test]
        fn what_two_patterns_have_in_common_matches_what_both_match(
            one in "([ab*]\\.){0,3}[ab*>]", other in "([ab*]\\.){0,3}[ab*>]", subject in "([ab]\\.){0,4}[ab]",
        ) {
            let (one, other): (Pattern, Pattern) = (one.parse().unwrap(), other.parse().unwrap());
            let subject: Subject = subject.parse().unwrap();
            let common = one.and(&other).is_some_and(|both| both.matches(&subject));
            prop_assert_eq!(common, one.matches(&subject) && other.matches(&subject));
        }
    }

    #[test]
    fn a_subject_tells_what_it_was_made_of() {
        let (source, pair): (SourceName, Pair) = ("kraken".parse().unwrap(), "BTC_USD".parse().unwrap());
        assert_eq!(Subject::rate(source, pair).as_rate(), Some((source, pair)));
        assert_eq!(Subject::quote(pair).as_quote(), Some(pair));
        for text in ["rates.kraken", "rates.kraken.btc_usd", "rates.kraken.BTC_USD.x", "quotes.BTC/USD", "quotes.a.b"] {
            let subject: Subject = text.parse().unwrap();
            assert_eq!((subject.as_rate(), subject.as_quote()), (None, None), "{text}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a.\u{e9}", "a\n"] {
            assert!(text.parse::<Subject>().is_err() && text.parse::<Pattern>().is_err(), "{text:?}");
        }
        for text in ["a.*", "a.>", "*", ">"] {
            assert!(text.parse::<Subject>().is_err() && text.parse::<Pattern>().is_ok(), "{text:?}");
        }
        for text in [">.a", "a.>.b", "a*", "a.b>"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }
}
