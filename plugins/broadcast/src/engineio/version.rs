//! What differs between the versions of Engine.IO: bodies of polls and posts, and bytes over a WebSocket.

use std::{borrow::Cow, iter};

use bytes::Bytes;
use data_encoding::BASE64;

use super::packet::{self, Packet, Received};
use crate::codec::{self, Opcode};

/// What stands between the packets of version 4.
const SEPARATOR: char = '\u{1e}';
/// In version 3 the kind of a packet stands before bytes, too.
const MESSAGE: u8 = 4;

/// The version that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Socket.IO clients 3.x and 4.x.
    V4,
    /// Socket.IO clients 2.x. With `base64`, they cannot take bytes when they poll.
    V3 { base64: bool },
}

/// The answer to a poll.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) body: Bytes,
    pub(crate) is_binary: bool,
}

impl Version {
    /// Packets as the answer to a poll.
    pub(super) fn payload(self, packets: impl IntoIterator<Item = Packet>) -> Payload {
        let frames: Vec<_> = packets.into_iter().map(Packet::into_frames).collect();
        let packets = || frames.iter().flat_map(|frames| codec::payloads(frames));
        let is_binary = self == Self::V3 { base64: false } && packets().any(|(opcode, _)| opcode == Opcode::Binary);
        let mut body = Vec::new();
        for (opcode, packet) in packets() {
            match self {
                Self::V4 => {
                    if !body.is_empty() {
                        body.push(SEPARATOR as u8);
                    }
                    body.extend_from_slice(&as_text(opcode, "b", packet));
                }
                Self::V3 { .. } if is_binary => push_bytes(&mut body, opcode, packet),
                Self::V3 { .. } => push_text(&mut body, &as_text(opcode, "b4", packet)),
            }
        }
        Payload { body: body.into(), is_binary }
    }

    /// Reads the body of a post; `None` in the place of what is no packet.
    pub(super) fn parse_payload(self, body: &str) -> impl Iterator<Item = Option<Received<'_>>> {
        let mut rest = Some(body);
        iter::from_fn(move || {
            let Some((packet, after)) = self.split(rest?) else {
                rest = None;
                return Some(None);
            };
            rest = after;
            let bytes = match self {
                Self::V4 => packet.strip_prefix('b'),
                Self::V3 { .. } => packet.strip_prefix("b4"),
            };
            Some(match bytes {
                Some(encoded) => BASE64.decode(encoded.as_bytes()).ok().map(|bytes| Received::Binary(bytes.into())),
                None => packet::parse(packet),
            })
        })
    }

    /// The first packet of a body, and what follows it.
    fn split(self, body: &str) -> Option<(&str, Option<&str>)> {
        match self {
            Self::V4 => Some(body.split_once(SEPARATOR).map_or((body, None), |(packet, rest)| (packet, Some(rest)))),
            Self::V3 { .. } => {
                let (length, rest) = body.split_once(':')?;
                let (packet, rest) = rest.split_at(end_of(rest, length.parse().ok()?)?);
                Some((packet, Some(rest).filter(|rest| !rest.is_empty())))
            }
        }
    }

    /// A packet as it goes over a WebSocket.
    pub(super) fn frames(self, packet: Packet) -> Bytes {
        let frames = packet.into_frames();
        if self != Self::V4
            && let Some((Opcode::Binary, bytes)) = codec::payloads(&frames).next()
        {
            return codec::encode(Opcode::Binary, &[&[MESSAGE], bytes].concat());
        }
        frames
    }

    /// Reads bytes that came over a WebSocket; `None` if they are no packet.
    pub(super) fn parse_bytes(self, bytes: Bytes) -> Option<Received<'static>> {
        match self {
            Self::V4 => Some(Received::Binary(bytes)),
            Self::V3 { .. } => bytes.starts_with(&[MESSAGE]).then(|| Received::Binary(bytes.slice(1..))),
        }
    }
}

/// Bytes are written in base64, with this before them.
fn as_text<'p>(opcode: Opcode, prefix: &str, packet: &'p [u8]) -> Cow<'p, [u8]> {
    match opcode {
        Opcode::Binary => Cow::Owned(format!("{prefix}{}", BASE64.encode(packet)).into_bytes()),
        _ => Cow::Borrowed(packet),
    }
}

/// `<length>:<packet>`, where the length is that of a string in JavaScript.
fn push_text(body: &mut Vec<u8>, packet: &[u8]) {
    let units = |byte: &u8| match byte {
        0x80..=0xbf => 0,
        0xf0.. => 2,
        _ => 1,
    };
    let length: usize = packet.iter().map(units).sum();
    body.extend(format!("{length}:").into_bytes());
    body.extend_from_slice(packet);
}

/// `<0 for text, 1 for bytes><each digit of the length in bytes><255><packet>`.
fn push_bytes(body: &mut Vec<u8>, opcode: Opcode, packet: &[u8]) {
    let kind: &[u8] = if opcode == Opcode::Binary { &[MESSAGE] } else { &[] };
    body.push(u8::from(opcode == Opcode::Binary));
    body.extend((kind.len() + packet.len()).to_string().bytes().map(|digit| digit - b'0'));
    body.push(u8::MAX);
    body.extend_from_slice(kind);
    body.extend_from_slice(packet);
}

/// Where a string of so many UTF-16 units ends that `text` begins with.
fn end_of(text: &str, length: usize) -> Option<usize> {
    let (mut units, mut end) = (0, 0);
    for char in text.chars() {
        if units >= length {
            break;
        }
        units += char.len_utf16();
        end += char.len_utf8();
    }
    (units == length).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: Version = Version::V3 { base64: true };

    fn packets() -> [Packet; 3] {
        [Packet::message("hello"), Packet::binary(&[1, 2, 3, 4]), Packet::ping()]
    }

    #[test]
    fn version_4_has_separators_and_base64() {
        let together = packets().map(Packet::into_frames).concat();
        for packets in [&packets()[..], &[Packet::from_frames(together.into())]] {
            let payload = Version::V4.payload(packets.iter().cloned());
            assert_eq!((&payload.body[..], payload.is_binary), (&b"4hello\x1ebAQIDBA==\x1e2"[..], false));
        }
        let received: Vec<_> = Version::V4.parse_payload("4hello\u{1e}bAQIDBA==\u{1e}b?\u{1e}").collect();
        let bytes = Bytes::from_static(&[1, 2, 3, 4]);
        assert_eq!(received, [Some(Received::Message("hello")), Some(Received::Binary(bytes)), None, None]);
    }

    #[test]
    fn version_3_has_lengths_as_javascript_counts() {
        let texts = ["hello", "", "€", "𝄞x"];
        let body = V3.payload(texts.map(Packet::message)).body;
        assert_eq!(body, "6:4hello1:42:4€4:4𝄞x");
        let received: Vec<_> = V3.parse_payload(str::from_utf8(&body).unwrap()).collect();
        assert_eq!(received, texts.map(|text| Some(Received::Message(text))));
        for malformed in ["", "abc", "6:4hell", ":", "-1:4", "3:𝄞𝄞", "2:4𝄞", "99999999999999999999:4"] {
            let received: Vec<_> = V3.parse_payload(malformed).collect();
            assert_eq!(received, [None], "{malformed}");
        }
        assert_eq!(V3.parse_payload("1:2x").collect::<Vec<_>>(), [Some(Received::Ping("")), None]);
    }

    #[test]
    fn version_3_has_bytes_as_text_or_with_all_else_as_bytes() {
        assert_eq!(V3.payload(packets()).body, "6:4hello10:b4AQIDBA==1:2");
        let bytes = || Some(Received::Binary(Bytes::from_static(&[1, 2, 3, 4])));
        assert_eq!(V3.parse_payload("10:b4AQIDBA==").next(), Some(bytes()));
        let payload = Version::V3 { base64: false }.payload(packets());
        let expected = [&[0, 6, 255][..], b"4hello", &[1, 5, 255, 4, 1, 2, 3, 4, 0, 1, 255], b"2"].concat();
        assert_eq!((&payload.body[..], payload.is_binary), (&expected[..], true));
        assert!(!Version::V3 { base64: false }.payload([Packet::ping()]).is_binary);
        assert_eq!(&V3.frames(Packet::binary(&[1]))[..], [0x82, 2, 4, 1]);
        assert_eq!(V3.parse_bytes(Bytes::from_static(&[4, 1, 2, 3, 4])), bytes());
        assert_eq!(V3.parse_bytes(Bytes::from_static(&[1])), None);
    }
}
