use std::fmt::Write as _;

use bytes::Bytes;

use crate::{inbox::Inbox, subscription::Stats};

/// What a slow subscription went through since it began, as JSON.
pub(crate) fn report(inbox: &Inbox, stats: Stats) -> Bytes {
    let Stats { accepted, conflated, dropped, disconnected, pending: _ } = stats;
    let (name, pattern) = (quoted(&inbox.name), quoted(inbox.pattern.as_str()));
    let counts = format!(r#""accepted":{accepted},"conflated":{conflated},"dropped":{dropped}"#);
    format!(r#"{{"subscription":{name},"pattern":{pattern},{counts},"disconnected":{disconnected}}}"#).into()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_json_wants() {
        assert_eq!(quoted("a\"b\\c\nd\u{e9}"), "\"a\\\"b\\\\c\\u000ad\u{e9}\"");
    }
}
