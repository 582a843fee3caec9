//! The packets of Socket.IO, protocol 5 and what is left of 4.

use std::fmt::Display;

use ratebus_sdk::ProblemDocument;
use serde_json::{Value, json, value::RawValue};

/// Tells a client to leave; it does not come back by itself.
pub(crate) const DISCONNECT: &str = "1";

/// What a client sent, in a namespace: `/` is the default one. No `Debug`: a token is a secret.
pub(crate) struct Packet<'a> {
    pub(crate) namespace: &'a str,
    /// How many messages of bytes follow that belong to it.
    pub(crate) attachments: usize,
    pub(crate) body: Body<'a>,
}

pub(crate) enum Body<'a> {
    /// Joins the namespace, with the client's `auth` where it has one.
    Connect(Option<Value>),
    Disconnect,
    /// A list: the event's name and its arguments. To be acknowledged under its number, where it has one.
    Event {
        list: &'a RawValue,
        number: Option<u64>,
    },
    /// A list: the arguments of an acknowledgement.
    Ack,
}

/// Reads a packet: `<kind>[<attachments>-][<namespace>,][<number>][<JSON>]`. `None` if it is none.
pub(crate) fn parse(text: &str) -> Option<Packet<'_>> {
    let (kind, rest) = text.split_at_checked(1)?;
    let (attachments, rest) = match kind {
        "5" | "6" => rest.split_once('-').and_then(|(count, rest)| Some((count.parse().ok()?, rest)))?,
        _ => (0, rest),
    };
    let (namespace, rest) = match rest.split_once(',') {
        _ if !rest.starts_with('/') => ("/", rest),
        Some(parts) => parts,
        None => (rest, ""),
    };
    // In protocol 4 a query may follow it, of which nothing is wanted.
    let namespace = namespace.split_once('?').map_or(namespace, |(namespace, _)| namespace);
    let json = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = match &rest[..rest.len() - json.len()] {
        "" => None,
        digits => Some(digits.parse().ok()?),
    };
    let body = match (kind, number) {
        ("0", None) if json.is_empty() => Body::Connect(None),
        ("0", None) => Body::Connect(Some(serde_json::from_str(json).ok().filter(Value::is_object)?)),
        ("1", None) if json.is_empty() => Body::Disconnect,
        ("2" | "5", number) => Body::Event { list: list(json).filter(|list| has_name(list))?, number },
        ("3" | "6", Some(_)) => list(json).map(|_| Body::Ack)?,
        _ => return None,
    };
    Some(Packet { namespace, attachments, body })
}

fn list(json: &str) -> Option<&RawValue> {
    serde_json::from_str::<&RawValue>(json).ok().filter(|list| list.get().starts_with('['))
}

fn has_name(list: &RawValue) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(list.get()).is_ok_and(|list| {
        list.first().is_some_and(|name| name.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()))
    })
}

/// As [`joined`], in protocol 4, which has no ids.
pub(crate) const JOINED: &str = "0";

/// The client has joined the default namespace.
pub(crate) fn joined(session: impl Display) -> String {
    format!("0{{\"sid\":\"{session}\"}}")
}

/// `CONNECT_ERROR`: the client may not join.
pub(crate) fn refused(problem: &ProblemDocument) -> String {
    format!("4{}", json!({ "message": problem.detail(), "data": problem }))
}

/// `CONNECT_ERROR`, as the original's server says it.
pub(crate) fn invalid_namespace(namespace: &str) -> String {
    format!("4{namespace},{{\"message\":\"Invalid namespace\"}}")
}

/// The answer to an event that has this number.
pub(crate) fn acknowledge(number: u64, argument: &Value) -> String {
    format!("3{number}[{argument}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Some(Packet { namespace, attachments, body }) = parse(text) else { return "none".to_owned() };
        match body {
            Body::Connect(auth) => format!("{namespace} connect {}", auth.unwrap_or_default()),
            Body::Disconnect => format!("{namespace} disconnect"),
            Body::Event { list, number } => format!("{namespace} event {list} {number:?} {attachments}"),
            Body::Ack => format!("{namespace} ack {attachments}"),
        }
    }

    #[test]
    fn packets_are_what_the_protocol_says() {
        for (text, expected) in [
            ("0", "/ connect null"),
            ("0/,", "/ connect null"),
            ("0/", "/ connect null"),
            (r#"0{"token":"a,b","more":1}"#, r#"/ connect {"more":1,"token":"a,b"}"#),
            (r#"0/admin,{"token":"x"}"#, r#"/admin connect {"token":"x"}"#),
            ("0/admin", "/admin connect null"),
            ("0/admin?token=x,", "/admin connect null"),
            ("0[]", "none"),
            ("0{", "none"),
            ("01{}", "none"),
            ("1", "/ disconnect"),
            ("1/admin", "/admin disconnect"),
            ("1{}", "none"),
            (r#"2["auth",{"token":"x"}]"#, r#"/ event ["auth",{"token":"x"}] None 0"#),
            (r#"2/admin,12["auth"]"#, r#"/admin event ["auth"] Some(12) 0"#),
            (r#"52-7["a",{"_placeholder":true,"num":0}]"#, r#"/ event ["a",{"_placeholder":true,"num":0}] Some(7) 2"#),
            ("2", "none"),
            ("2[]", "none"),
            ("2[{}]", "none"),
            ("2{}", "none"),
            ("2abc[\"x\"]", "none"),
            ("5[\"x\"]", "none"),
            ("31[]", "/ ack 0"),
            ("61-3[]", "/ ack 1"),
            ("3[]", "none"),
            ("", "none"),
            ("4{}", "none"),
            ("é", "none"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
