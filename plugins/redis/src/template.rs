use std::fmt::Write;

use ratebus_model::{Pair, RateKind, SourceName};

/// The name of a channel or a key, with places for what differs from one value to the next: `{pair}`, `{source}` and
/// `{kind}`, the members of the document that have these names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Pair,
    Source,
    Kind,
}

impl Template {
    /// Reads a template; the error says what was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, opened)) = rest.split_once('{') {
            let Some((name, after)) = opened.split_once('}') else {
                return Err(format!("{text:?} has a {{ without its }}"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "pair" => Part::Pair,
                "source" => Part::Source,
                "kind" => Part::Kind,
                _ => {
                    return Err(format!(
                        "no placeholder is named {{{name}}}; there are: {{pair}}, {{source}}, {{kind}}"
                    ));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() { Err("must not be empty".to_owned()) } else { Ok(Self { parts }) }
    }

    /// Whether each pair has a name of its own.
    pub(crate) fn names_the_pair(&self) -> bool {
        self.parts.contains(&Part::Pair)
    }

    /// The name for a value.
    pub(crate) fn fill(&self, pair: Pair, source: SourceName, kind: RateKind) -> String {
        let mut name = String::new();
        for part in &self.parts {
            // Writing to a string does not fail.
            _ = match part {
                Part::Text(text) => write!(name, "{text}"),
                Part::Pair => write!(name, "{pair}"),
                Part::Source => write!(name, "{source}"),
                Part::Kind => write!(name, "{}", kind_text(kind)),
            };
        }
        name
    }
}

/// The kind as JSON has it.
fn kind_text(kind: RateKind) -> &'static str {
    match kind {
        RateKind::TwoSided => "two_sided",
        RateKind::Reference => "reference",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let filled = |text: &str| {
            let template = Template::parse(text).unwrap();
            template.fill("BTC_USD".parse().unwrap(), "kraken".parse().unwrap(), RateKind::TwoSided)
        };
        for (text, expected) in [
            ("rates:latest", "rates:latest"),
            ("{pair}", "BTC_USD"),
            ("rates:{source}:{pair}:{kind}!", "rates:kraken:BTC_USD:two_sided!"),
            ("{pair}{pair}", "BTC_USDBTC_USD"),
        ] {
            assert_eq!(filled(text), expected);
        }
        assert!(Template::parse("a{pair}").unwrap().names_the_pair());
        assert!(!Template::parse("pair").unwrap().names_the_pair());
    }

    #[test]
    fn an_unknown_place_is_named() {
        for (text, expected) in [
            ("rates:{par}", "no placeholder is named {par}; there are: {pair}, {source}, {kind}"),
            ("rates:{}", "no placeholder is named {}"),
            ("rates:{pair", "has a { without its }"),
            ("", "must not be empty"),
        ] {
            let message = Template::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_kind_is_written_as_in_json() {
        for kind in [RateKind::TwoSided, RateKind::Reference] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_text(kind));
        }
    }
}
