use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::{
    Error, Message, WebSocket,
    error::{CapacityError, ProtocolError},
    protocol::{Role, WebSocketConfig},
};

use super::*;

const MAX: usize = 1000;

fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = encode(Opcode::Text, payload).to_vec();
    let body = frame.len() - payload.len();
    (frame[0], frame[1]) = (first, frame[1] | MASKED);
    unmask(&mut frame[body..], mask);
    frame.splice(body..body, mask);
    frame
}

/// Everything that comes out of `bytes`, fed in parts of these lengths.
fn decode(bytes: &[u8], parts: &[usize]) -> (Vec<Incoming>, Option<Fault>) {
    let (mut decoder, mut incoming, mut rest) = (Decoder::new(MAX), Vec::new(), bytes);
    for length in parts.iter().copied().cycle() {
        let (mut part, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        loop {
            match decoder.next(&mut part) {
                Ok(Some(next)) => incoming.push(next),
                Ok(None) => break,
                Err(fault) => return (incoming, Some(fault)),
            }
        }
        assert!(part.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    (incoming, None)
}

/// Bytes to read, and nowhere to write.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the same bytes.
fn oracle(bytes: &[u8]) -> (Vec<Incoming>, Option<Fault>) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut incoming = Vec::new();
    loop {
        incoming.push(match socket.read() {
            Ok(Message::Text(text)) => Incoming::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Incoming::Binary(bytes),
            Ok(Message::Ping(bytes)) => Incoming::Ping(bytes),
            Ok(Message::Pong(_)) => Incoming::Pong,
            Ok(Message::Close(frame)) => Incoming::Close(frame.map(|frame| frame.code.into())),
            Ok(Message::Frame(_)) => unreachable!("frames are not read"),
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => return (incoming, Some(Fault::TooLong)),
            Err(Error::Utf8(_)) => return (incoming, Some(Fault::NotUtf8)),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return (incoming, None),
            Err(_) => return (incoming, Some(Fault::Malformed)),
        });
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zäß漢😀]{0,12}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (120_usize..132).prop_map(|length| vec![b'x'; length]),
        1 => (990_usize..1010).prop_map(|length| vec![b'x'; length]),
    ]
}

/// Frames that are mostly right.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        // How a connection is closed differs.
        1 => any::<u8>().prop_filter("no close frame", |first| first & 0xf != Opcode::Close as u8),
    ];
    let frame = (first, any::<[u8; 4]>(), payload());
    let frames = prop::collection::vec(frame.prop_map(|(first, mask, payload)| masked(first, mask, &payload)), 0..10);
    frames.prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn what_comes_out_is_what_another_library_reads(bytes in frames(), parts in prop::collection::vec(1_usize..40, 1..6)) {
        let (ours, fault) = decode(&bytes, &parts);
        let (theirs, expected) = oracle(&bytes);
        prop_assert_eq!(ours, theirs);
        // Of several faults another may be the first; and we see at once that text is none.
        let agreed = fault.is_some() == expected.is_some() || fault == Some(Fault::NotUtf8);
        prop_assert!(agreed, "{fault:?} {expected:?}");
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>, parts in prop::collection::vec(1_usize..9, 1..4)) {
        prop_assert_eq!(decode(&bytes, &parts), decode(&bytes, &[bytes.len().max(1)]));
    }

    #[test]
    fn what_is_sent_can_be_read(payload in prop::collection::vec(any::<u8>(), 0..300), mask: [u8; 4]) {
        let (incoming, fault) = decode(&masked(0x82, mask, &payload), &[7]);
        prop_assert_eq!((incoming, fault), (vec![Incoming::Binary(payload.into())], None));
    }
}

#[test]
fn lengths_have_one_form() {
    for (length, head) in [(125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10)] {
        assert_eq!(encode(Opcode::Binary, &vec![0; length]).len(), head + length);
    }
    let mask = [0; 4];
    let long_form = |form: &[u8]| [&[0x82, MASKED | form[0]], &form[1..], &mask[..], b"x"].concat();
    for bytes in [long_form(&[126, 0, 1]), long_form(&[127, 0, 0, 0, 0, 0, 0, 0, 1])] {
        assert_eq!(decode(&bytes, &[1]).1, Some(Fault::Malformed));
    }
}

#[test]
fn text_is_refused_with_the_first_byte_that_is_none() {
    let mut decoder = Decoder::new(MAX);
    let frame = masked(0x81, [0; 4], b"abc\xf4\x90xxxxxx");
    let (mut before, mut byte) = (&frame[..frame.len() - 7], &frame[frame.len() - 7..]);
    assert_eq!(decoder.next(&mut before), Ok(None));
    assert_eq!(decoder.next(&mut byte), Err(Fault::NotUtf8));
}

#[test]
fn close_frames_have_the_codes_that_may_be_sent() {
    let close = |payload: &[u8]| decode(&masked(0x88, [1, 2, 3, 4], payload), &[3]);
    for code in [1000_u16, 1003, 1007, 1012, 1014, 3000, 4999] {
        let [high, low] = code.to_be_bytes();
        assert_eq!(close(&[high, low, b'x']), (vec![Incoming::Close(Some(code))], None));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(close(&code.to_be_bytes()).1, Some(Fault::Malformed), "{code}");
    }
    assert_eq!(close(b""), (vec![Incoming::Close(None)], None));
    assert_eq!(close(b"\x03").1, Some(Fault::Malformed));
    assert_eq!(close(b"\x03\xe8\xff").1, Some(Fault::NotUtf8));
    assert_eq!(encode_close(1000, &"ä".repeat(100)).len(), 2 + 2 + 122);
}

#[test]
fn a_message_is_not_made_of_nothing_without_end() {
    let empty = |first| masked(first, [1, 2, 3, 4], b"");
    let begun = [empty(0x01), empty(0x00).repeat(MAX - 1)].concat();
    let ended = [&begun[..], &masked(0x80, [0; 4], b"x")].concat();
    assert_eq!(
        decode(&ended.repeat(2), &[1000]),
        (vec![Incoming::Text("x".to_owned()), Incoming::Text("x".to_owned())], None)
    );
    assert_eq!(decode(&[begun, empty(0x00)].concat(), &[1000]), (Vec::new(), Some(Fault::TooLong)));
}
