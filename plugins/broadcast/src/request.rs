use std::collections::BTreeSet;

use axum::{
    extract::{FromRequestParts, Query},
    http::{StatusCode, request::Parts},
};
use ratebus_model::{Pair, Timestamp};
use ratebus_sdk::{FieldProblem, ProblemDocument};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::IntoParams;

use crate::{
    board::Board,
    cursor::{Cursor, MAX_PATTERNS},
    pace::MAX_RATE,
    wanted::{NoPattern, PairPattern, Wanted},
};

/// The longest `id` that is sent back, in bytes.
const MAX_ID: usize = 66;

/// Pairs that no source serves, or that are no pairs at all.
pub(crate) fn unknown_pairs(pairs: &[String]) -> ProblemDocument {
    ProblemDocument::new(StatusCode::NOT_FOUND, format!("Nobody serves {}.", pairs.join(", ")))
}

/// More patterns than a client may have.
pub(crate) fn too_many_patterns() -> ProblemDocument {
    wrong("pairs", format!("at most {MAX_PATTERNS} patterns of many pairs are taken"))
}

/// A member, or a parameter of a query, is wrong.
fn wrong(field: &str, message: String) -> ProblemDocument {
    ProblemDocument::fields(vec![FieldProblem { field: field.to_owned(), message }])
}

/// What a WebSocket client asked for. No `Debug`: a token is a secret.
pub(crate) enum Op {
    /// Shows a token.
    Auth(String),
    /// To be sent at most so many writes of quotes a second; 0: as many as there are.
    Limit(u32),
    Subscribe(Asked),
    Unsubscribe(Asked),
    Ping,
}

/// The client's own mark of a request, returned as it was written.
pub(crate) type Id<'a> = Option<&'a RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    op: String,
    pairs: Option<Vec<String>>,
    token: Option<String>,
    max_rate: Option<u64>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// For answering requests that are wrong in all other respects.
#[derive(Deserialize)]
struct Marked<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Reads a request; what is wrong with it comes with its id, where it has one.
pub(crate) fn parse(text: &str) -> (Id<'_>, Result<Op, ProblemDocument>) {
    let bad = |detail: String| Err(ProblemDocument::new(StatusCode::BAD_REQUEST, detail));
    let (id, wire) = match serde_json::from_str::<Wire>(text) {
        Ok(wire) => (wire.id, Ok((wire.op, wire.pairs, wire.token, wire.max_rate))),
        Err(error) => (serde_json::from_str::<Marked>(text).ok().and_then(|marked| marked.id), Err(error)),
    };
    if id.is_some_and(|id| !is_id(id)) {
        return (None, bad(format!("id: a number or a string of at most {} bytes was expected", MAX_ID - 2)));
    }
    let op = match wire {
        Err(error) => bad(error.to_string()),
        Ok((op, pairs, token, max_rate)) => match (op.as_str(), pairs, token, max_rate) {
            ("auth", None, Some(token), None) => Ok(Op::Auth(token)),
            ("limit", None, None, Some(max_rate)) => limit(max_rate).map(Op::Limit),
            ("subscribe", Some(pairs), None, None) => Asked::read(&pairs).map(Op::Subscribe),
            ("unsubscribe", Some(pairs), None, None) => Asked::read(&pairs).map(Op::Unsubscribe),
            ("ping", None, None, None) => Ok(Op::Ping),
            ("auth", ..) => bad("auth needs a token and nothing else".to_owned()),
            ("subscribe" | "unsubscribe", ..) => bad(format!("{op} needs pairs and nothing else")),
            ("limit", ..) => bad("limit needs max_rate and nothing else".to_owned()),
            ("ping", ..) => bad("ping takes nothing".to_owned()),
            _ => bad("op: auth, limit, subscribe, unsubscribe or ping was expected".to_owned()),
        },
    };
    (id, op)
}

/// A `max_rate` that was asked for.
fn limit(max_rate: u64) -> Result<u32, ProblemDocument> {
    let max_rate = u32::try_from(max_rate).ok().filter(|&max_rate| max_rate <= MAX_RATE);
    max_rate.ok_or_else(|| wrong("max_rate", format!("a whole number from 0 to {MAX_RATE} was expected")))
}

fn is_id(id: &RawValue) -> bool {
    id.get().len() <= MAX_ID && id.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// Pairs and patterns of pairs, each as a client writes it and as it is understood: what is neither is as unknown as a
/// pair that nobody serves.
#[derive(Debug)]
pub(crate) struct Asked(Vec<(String, Option<PairPattern>)>);

impl Asked {
    /// Reads them; a pattern that is none is an error.
    pub(crate) fn read<S: AsRef<str>>(texts: &[S]) -> Result<Self, ProblemDocument> {
        let mut asked = Vec::new();
        for text in texts.iter().map(AsRef::as_ref) {
            let short: String = text.chars().take(32).collect();
            match text.parse() {
                Err(NoPattern) if PairPattern::is_meant(text) => {
                    return Err(wrong("pairs", format!("{short:?} is no pattern such as BTC_*, *_EUR or >")));
                }
                read => asked.push((short, read.ok())),
            }
        }
        let asked = Self(asked);
        if asked.patterns().filter(|pattern| pattern.is_many()).count() > MAX_PATTERNS {
            return Err(too_many_patterns());
        }
        Ok(asked)
    }

    /// What was understood.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = PairPattern> {
        self.0.iter().filter_map(|(_, pattern)| *pattern)
    }

    /// The patterns of many pairs, and the pairs that somebody serves; and the texts of the others.
    pub(crate) fn known(&self, board: &Board) -> (Vec<PairPattern>, Vec<String>) {
        let table = board.read();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (text, pattern) in &self.0 {
            match pattern {
                Some(pattern) if pattern.pair().is_none_or(|pair| table.knows(pair)) => known.push(*pattern),
                _ => unknown.push(text.clone()),
            }
        }
        (known, unknown)
    }
}

/// The query of a stream: `?pairs=BTC_USD,ETH_*`. Absent means every pair, empty means none.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// Names of pairs, and patterns of them such as `BTC_*`, `*_EUR` and `>`, with commas between them: without it every
    /// pair, empty for none.
    #[param(nullable = false, example = "BTC_USD,ETH_*")]
    pairs: Option<String>,
    /// How far the client has come before: it goes on from there, without a snapshot, if the server knows this position.
    #[param(nullable = false, example = "5f0c1d2e3b4a5968-17")]
    since: Option<String>,
    /// How many writes of quotes a second are wanted at most, in each the newest of each pair; 0: as many as there are.
    #[param(nullable = false, value_type = u32, minimum = 0, maximum = 1000, example = 5)]
    max_rate: Option<String>,
}

/// What a stream is to begin with.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Every pair without it.
    asked: Option<Asked>,
    since: Option<String>,
    pub(crate) max_rate: u32,
}

impl<S: Send + Sync> FromRequestParts<S> for Selection {
    type Rejection = ProblemDocument;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemDocument> {
        let Query(Parameters { pairs, since, max_rate }) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| ProblemDocument::new(error.status(), error.body_text()))?;
        let texts =
            |pairs: String| pairs.split(',').filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let asked = pairs.map(|pairs| Asked::read(&texts(pairs))).transpose()?;
        // What is no number is as wrong as one that is too high.
        let max_rate = max_rate.map_or(Ok(0), |text| limit(text.parse().unwrap_or(u64::MAX)))?;
        Ok(Self { asked, since, max_rate })
    }
}

impl Selection {
    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.asked.is_none()
    }

    /// Where the stream starts: with a snapshot, or where the client was, if this board knows the position that it shows,
    /// here or with the request (`shown`). Returns also what nobody serves.
    pub(crate) fn start(&self, board: &Board, shown: Option<&str>) -> (Cursor, Vec<String>) {
        let (known, unknown) = self.known(board);
        let cursor = match shown.or(self.since.as_deref()).and_then(|position| board.shown(position)) {
            Some(seen) => Cursor::resumed(board, &known, seen),
            None => Cursor::of(board, &known),
        };
        (cursor, unknown)
    }

    /// What is wanted, and what of it nobody serves.
    pub(crate) fn known(&self, board: &Board) -> (Vec<PairPattern>, Vec<String>) {
        self.asked.as_ref().map_or((vec![PairPattern::ALL], Vec::new()), |asked| asked.known(board))
    }
}

/// What is subscribed, as a client is told it.
#[derive(Debug, Serialize)]
pub(crate) struct Subscribed {
    /// Those that match a pattern included, as far as somebody serves them.
    pairs: BTreeSet<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<PairPattern>,
}

impl Subscribed {
    pub(crate) fn new(wanted: &Wanted, board: &Board) -> Self {
        let known = board.read().pairs().into_iter().filter(|&pair| wanted.contains(pair));
        let (patterns, named): (Vec<_>, Vec<_>) = wanted.patterns().iter().partition(|pattern| pattern.is_many());
        Self { pairs: known.chain(named.into_iter().filter_map(PairPattern::pair)).collect(), patterns }
    }
}

/// What a WebSocket client is answered.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Reply<'a> {
    #[serde(rename_all = "camelCase")]
    Authenticated {
        expires_at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Id<'a>,
    },
    Subscribed {
        #[serde(flatten)]
        subscribed: Subscribed,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Id<'a>,
    },
    /// Goes on from the position that was shown.
    Resumed,
    Limited {
        /// What holds now; 0: no limit.
        max_rate: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Id<'a>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Id<'a>,
    },
    Error {
        error: ProblemDocument,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Id<'a>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Option<String>, String) {
        let (id, op) = parse(text);
        let Err(error) = op else { panic!("{text} was taken") };
        let reply = Reply::Error { error, id };
        (id.map(ToString::to_string), serde_json::to_string(&reply).unwrap())
    }

    #[test]
    fn ids_come_back_as_they_were_written() {
        for id in ["7", "-1.50", "1e400", "\"abc\"", "\"\\u0041\""] {
            let text = format!(r#"{{"op":"ping","id":{id}}}"#);
            let (found, op) = parse(&text);
            assert!(matches!(op, Ok(Op::Ping)), "{text}");
            let reply = serde_json::to_string(&Reply::Pong { id: found }).unwrap();
            assert_eq!(reply, format!(r#"{{"type":"pong","id":{id}}}"#));
        }
        assert_eq!(serde_json::to_string(&Reply::Pong { id: None }).unwrap(), r#"{"type":"pong"}"#);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id() {
        for text in [
            r#"{"op":"subscribe","id":7}"#,
            r#"{"op":"subscribe","pairs":"BTC_USD","id":7}"#,
            r#"{"op":"subscribe","pairs":[1],"id":7}"#,
            r#"{"op":"ping","pairs":[],"id":7}"#,
            r#"{"op":"auth","id":7}"#,
            r#"{"op":"auth","token":"x","pairs":[],"id":7}"#,
            r#"{"op":"ping","token":"x","id":7}"#,
            r#"{"op":"publish","id":7}"#,
            r#"{"op":"ping","extra":1,"id":7}"#,
            r#"{"op":"limit","id":7}"#,
            r#"{"op":"limit","max_rate":-1,"id":7}"#,
            r#"{"op":"limit","max_rate":0.5,"id":7}"#,
            r#"{"op":"subscribe","pairs":[],"max_rate":1,"id":7}"#,
            r#"{"id":7}"#,
        ] {
            let (id, reply) = refusal(text);
            assert_eq!(id.as_deref(), Some("7"), "{text}");
            assert!(reply.contains(r#""status":400"#) && reply.ends_with(r#","id":7}"#), "{reply}");
        }
        let long = format!(r#"{{"op":"ping","id":"{}"}}"#, "x".repeat(65));
        for text in ["", "[]", "{", "null", "7", r#"{"op":"ping","id":{}}"#, r#"{"op":"ping","id":true}"#, &long] {
            assert_eq!(refusal(text).0, None, "{text}");
        }
    }
}
