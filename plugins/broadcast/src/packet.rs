//! The packets of Socket.IO (protocol 5) that are spoken here: one namespace, one event to clients and one from them.

use std::fmt::Display;

use ratebus_model::Timestamp;
use ratebus_sdk::ProblemDocument;
use serde::Deserialize;
use serde_json::json;

/// Tells a client to leave; it does not come back by itself.
pub(crate) const DISCONNECT: &str = "1";

/// What a client sent. No `Debug`: a token is a secret.
pub(crate) enum Packet<'a> {
    /// Joins the default namespace: `0{"token":"…"}`, with the client's `auth`.
    Connect {
        token: Option<String>,
    },
    /// Joins another one, which there is not.
    ConnectElsewhere {
        namespace: &'a str,
    },
    Disconnect,
    /// The event `auth`, `27["auth",{"token":"…"}]`, acknowledged under its number where it has one.
    Auth {
        token: String,
        ack: Option<u64>,
    },
    /// Any other event, or an acknowledgement.
    Event,
    Malformed,
}

#[derive(Deserialize)]
struct Auth {
    token: Option<String>,
}

/// Reads a packet.
pub(crate) fn parse(text: &str) -> Packet<'_> {
    let Some((kind, rest)) = text.split_at_checked(1) else { return Packet::Malformed };
    match kind {
        "0" => connect(rest),
        "1" => Packet::Disconnect,
        "2" => event(rest),
        "3" => Packet::Event,
        _ => Packet::Malformed,
    }
}

/// `[/namespace,][auth]`
fn connect(rest: &str) -> Packet<'_> {
    let (namespace, auth) = match rest.split_once(',') {
        _ if !rest.starts_with('/') => ("/", rest),
        Some(parts) => parts,
        None => (rest, ""),
    };
    match namespace {
        "/" => Packet::Connect { token: serde_json::from_str::<Auth>(auth).ok().and_then(|auth| auth.token) },
        namespace => Packet::ConnectElsewhere { namespace },
    }
}

/// `[number]["name",argument …]`
fn event(rest: &str) -> Packet<'_> {
    let arguments = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let ack = rest[..rest.len() - arguments.len()].parse().ok();
    match serde_json::from_str::<(String, Auth)>(arguments) {
        Ok((name, Auth { token: Some(token) })) if name == "auth" => Packet::Auth { token, ack },
        _ => Packet::Event,
    }
}

/// The client has joined.
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

/// The answer to an `auth` event.
pub(crate) fn acknowledge(number: u64, renewed: Result<Timestamp, &ProblemDocument>) -> String {
    let argument = match renewed {
        Ok(expires_at) => json!({ "expiresAt": expires_at }),
        Err(error) => json!({ "error": error }),
    };
    format!("3{number}[{argument}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Packet::Connect { token } => format!("connect {token:?}"),
            Packet::ConnectElsewhere { namespace } => format!("elsewhere {namespace}"),
            Packet::Disconnect => "disconnect".to_owned(),
            Packet::Auth { token, ack } => format!("auth {token} {ack:?}"),
            Packet::Event => "event".to_owned(),
            Packet::Malformed => "malformed".to_owned(),
        }
    }

    #[test]
    fn packets_are_what_the_protocol_says() {
        for (text, expected) in [
            ("0", "connect None"),
            ("0/,", "connect None"),
            ("0/", "connect None"),
            (r#"0{"token":"a,b","more":1}"#, "connect Some(\"a,b\")"),
            (r#"0/,{"token":"x"}"#, "connect Some(\"x\")"),
            (r#"0{"token":7}"#, "connect None"),
            (r#"0/admin,{"token":"x"}"#, "elsewhere /admin"),
            ("0/admin", "elsewhere /admin"),
            ("1", "disconnect"),
            (r#"2["auth",{"token":"x"}]"#, "auth x None"),
            (r#"212["auth",{"token":"x"}]"#, "auth x Some(12)"),
            (r#"2["auth",{}]"#, "event"),
            (r#"2["other",{"token":"x"}]"#, "event"),
            ("2", "event"),
            ("31[]", "event"),
            ("", "malformed"),
            ("4{}", "malformed"),
            ("é", "malformed"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
