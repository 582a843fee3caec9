//! The packets of Engine.IO.

use bytes::Bytes;

use crate::codec::{self, Opcode};

/// A packet to clients, or several that go together, ready for any number of them: frames of a WebSocket, of which polling
/// takes what is inside.
#[derive(Debug, Clone)]
pub(crate) struct Packet(Bytes);

impl Packet {
    /// Ends the session.
    pub(crate) fn close() -> Self {
        Self::text("1")
    }

    /// Asks whether the client is there.
    pub(crate) fn ping() -> Self {
        Self::text("2")
    }

    /// The answer to a ping with this in it.
    pub(crate) fn pong(data: &str) -> Self {
        Self::text(&format!("3{data}"))
    }

    /// Nothing: ends a poll.
    pub(crate) fn noop() -> Self {
        Self::text("6")
    }

    /// A message of text.
    pub(crate) fn message(text: &str) -> Self {
        Self::text(&format!("4{text}"))
    }

    /// A message of bytes.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn binary(bytes: &[u8]) -> Self {
        Self(codec::encode(Opcode::Binary, bytes))
    }

    /// Any packet but a message of bytes.
    pub(crate) fn text(text: &str) -> Self {
        Self(codec::encode(Opcode::Text, text.as_bytes()))
    }

    /// What [`Packet::into_frames`] gave, of one packet after the other.
    pub(crate) fn from_frames(frames: Bytes) -> Self {
        Self(frames)
    }

    /// As it goes over a WebSocket.
    pub(crate) fn into_frames(self) -> Bytes {
        self.0
    }
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    Close,
    Ping(&'a str),
    Pong,
    Message(&'a str),
    Binary(Bytes),
    Upgrade,
    Noop,
}

/// Reads a packet; `None` if it is none.
pub(crate) fn parse(packet: &str) -> Option<Received<'_>> {
    let (kind, rest) = packet.split_at_checked(1)?;
    match (kind, rest) {
        ("1", "") => Some(Received::Close),
        ("2", data) => Some(Received::Ping(data)),
        ("3", "") => Some(Received::Pong),
        ("4", text) => Some(Received::Message(text)),
        ("5", "") => Some(Received::Upgrade),
        ("6", "") => Some(Received::Noop),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_the_protocol_says() {
        for (text, expected) in [
            ("1", Some(Received::Close)),
            ("2probe", Some(Received::Ping("probe"))),
            ("3", Some(Received::Pong)),
            ("4", Some(Received::Message(""))),
            ("4hello", Some(Received::Message("hello"))),
            ("5", Some(Received::Upgrade)),
            ("6", Some(Received::Noop)),
            ("", None),
            ("0{}", None),
            ("7", None),
            ("1x", None),
            ("é", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(&Packet::message("x").into_frames()[..], b"\x81\x024x");
    }
}
