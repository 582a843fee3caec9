//! The packets of Engine.IO 4, as both transports carry them.

use bytes::Bytes;
use data_encoding::BASE64;

use crate::codec::{self, Opcode};

/// What stands between packets in the body of a request or an answer.
const SEPARATOR: char = '\u{1e}';

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

    /// The answer to the first packet on a WebSocket that is to take over.
    pub(crate) fn probed() -> Self {
        Self::text("3probe")
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

/// The answer to a poll.
pub(crate) fn payload(packets: impl IntoIterator<Item = Packet>) -> Bytes {
    let mut body = Vec::new();
    for packet in packets {
        for (opcode, packet) in codec::payloads(&packet.0) {
            if !body.is_empty() {
                body.push(SEPARATOR as u8);
            }
            if opcode == Opcode::Binary {
                body.push(b'b');
                body.extend(BASE64.encode(packet).into_bytes());
            } else {
                body.extend_from_slice(packet);
            }
        }
    }
    body.into()
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

/// Reads the body of a request.
pub(crate) fn parse_payload(body: &str) -> impl Iterator<Item = Option<Received<'_>>> {
    body.split(SEPARATOR).map(|packet| match packet.strip_prefix('b') {
        Some(encoded) => BASE64.decode(encoded.as_bytes()).ok().map(|bytes| Received::Binary(bytes.into())),
        None => parse(packet),
    })
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
    }

    #[test]
    fn what_is_polled_has_separators_and_base64() {
        let packets = || [Packet::message("hello"), Packet::binary(&[1, 2, 3, 4]), Packet::ping()];
        let together = packets().map(Packet::into_frames).concat();
        for packets in [&packets()[..], &[Packet::from_frames(together.into())]] {
            assert_eq!(payload(packets.iter().cloned()), "4hello\u{1e}bAQIDBA==\u{1e}2");
        }
        let received: Vec<_> = parse_payload("4hello\u{1e}bAQIDBA==\u{1e}b?\u{1e}").collect();
        let bytes = Bytes::from_static(&[1, 2, 3, 4]);
        assert_eq!(received, [Some(Received::Message("hello")), Some(Received::Binary(bytes)), None, None]);
        assert_eq!(&Packet::message("x").into_frames()[..], b"\x81\x024x");
    }
}
