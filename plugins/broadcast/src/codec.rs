//! The frames of WebSocket (RFC 6455), a server's side of them, without any I/O.

use std::str::from_utf8;

use bytes::{BufMut, Bytes, BytesMut};

/// What a frame carries (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

/// What has come in: a whole message, put together from its fragments, or a control frame from between them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// With the code, if there was one.
    Close(Option<u16>),
}

/// How what came in breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no frame, or not in its place.
    Malformed,
    /// The message is, or would become, longer than allowed, or has more fragments with nothing in them than it may have
    /// bytes.
    TooLong,
    /// Text that is no UTF-8; noticed with the first byte that cannot be.
    NotUtf8,
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The most that a control frame carries (section 5.5).
const MAX_CONTROL: u64 = 125;
/// The longest head of a masked frame.
const MAX_HEAD: usize = 14;

/// Reads masked frames from bytes that come in parts. It keeps nothing but what has come of a message that is not
/// complete.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message: usize,
    /// What has come of the next frame's head.
    head: [u8; MAX_HEAD],
    head_length: u8,
    frame: Option<Frame>,
    /// The kind of the message that is being put together.
    message: Option<Opcode>,
    payload: Vec<u8>,
    /// How many of its fragments had nothing in them.
    empty: usize,
    /// So many bytes of the payload are whole characters, where it is text.
    checked: usize,
    control: Vec<u8>,
}

/// A frame whose payload is coming in.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    left: usize,
    mask: [u8; 4],
}

impl Decoder {
    /// For messages of at most `max_message` bytes.
    pub(crate) fn new(max_message: usize) -> Self {
        Self {
            max_message,
            head: [0; MAX_HEAD],
            head_length: 0,
            frame: None,
            message: None,
            payload: Vec::new(),
            empty: 0,
            checked: 0,
            control: Vec::new(),
        }
    }

    /// Takes from the front of `input` up to the end of the next message or control frame, and returns that; `None` when
    /// all of it was taken and more is needed. After a fault nothing further can be made of the connection.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let (part, rest) = input.split_at(frame.left.min(input.len()));
            *input = rest;
            frame.left -= part.len();
            self.take(&mut frame, part)?;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(incoming) = self.finish(frame)? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Reads a frame's head, if all of it is there.
    fn begin(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Fault> {
        loop {
            let length = usize::from(self.head_length);
            if length >= 2 {
                check_first(self.head[0], self.head[1], self.message.is_some())?;
                if length == head_length(self.head[1]) {
                    break;
                }
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.head[length] = byte;
            self.head_length += 1;
        }
        let head = &self.head[..usize::from(std::mem::take(&mut self.head_length))];
        let (extended, mask) = head[2..].split_at(head.len() - 6);
        let length = match extended {
            [] => u64::from(head[1] & !MASKED),
            _ => extended.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        // The shortest form of a length is the only one.
        let least = match extended.len() {
            0 => 0,
            2 => MAX_CONTROL + 1,
            _ => u64::from(u16::MAX) + 1,
        };
        if length < least {
            return Err(Fault::Malformed);
        }
        let opcode = opcode(head[0]).ok_or(Fault::Malformed)?;
        let left = usize::try_from(length).map_err(|_| Fault::TooLong)?;
        if !opcode.is_control() && left > self.max_message - self.payload.len() {
            return Err(Fault::TooLong);
        }
        let is_last = head[0] & FIN != 0;
        if left == 0 && !is_last {
            self.empty += 1;
            if self.empty > self.max_message {
                return Err(Fault::TooLong);
            }
        }
        if let Opcode::Text | Opcode::Binary = opcode {
            self.message = Some(opcode);
        }
        let mask = mask.try_into().map_err(|_| Fault::Malformed)?;
        Ok(Some(Frame { opcode, is_last, left, mask }))
    }

    /// Unmasks a part of a frame's payload and keeps it.
    fn take(&mut self, frame: &mut Frame, part: &[u8]) -> Result<(), Fault> {
        let kept = if frame.opcode.is_control() { &mut self.control } else { &mut self.payload };
        let before = kept.len();
        kept.extend_from_slice(part);
        unmask(&mut kept[before..], frame.mask);
        frame.mask.rotate_left(part.len() % 4);
        if self.message == Some(Opcode::Text) && !frame.opcode.is_control() {
            match from_utf8(&self.payload[self.checked..]) {
                Ok(_) => self.checked = self.payload.len(),
                Err(error) if error.error_len().is_some() => return Err(Fault::NotUtf8),
                Err(error) => self.checked += error.valid_up_to(),
            }
        }
        Ok(())
    }

    /// What a frame that is complete has brought to its end.
    fn finish(&mut self, frame: Frame) -> Result<Option<Incoming>, Fault> {
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut self.control);
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Incoming::Ping(payload.into()),
                Opcode::Close => Incoming::Close(close_code(&payload)?),
                _ => Incoming::Pong,
            }));
        }
        if !frame.is_last {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.payload);
        (self.checked, self.empty) = (0, 0);
        Ok(Some(match self.message.take() {
            Some(Opcode::Text) => Incoming::Text(String::from_utf8(payload).map_err(|_| Fault::NotUtf8)?),
            _ => Incoming::Binary(payload.into()),
        }))
    }
}

impl Opcode {
    fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

fn opcode(first: u8) -> Option<Opcode> {
    let opcodes = [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong];
    opcodes.into_iter().find(|&opcode| opcode as u8 == first & 0xf)
}

/// What can be said of a frame by its first two bytes.
fn check_first(first: u8, second: u8, within_message: bool) -> Result<(), Fault> {
    let opcode = opcode(first).ok_or(Fault::Malformed)?;
    let is_in_place = match opcode {
        Opcode::Continuation => within_message,
        Opcode::Text | Opcode::Binary => !within_message,
        _ => first & FIN != 0 && u64::from(second & !MASKED) <= MAX_CONTROL,
    };
    if first & RESERVED == 0 && second & MASKED != 0 && is_in_place { Ok(()) } else { Err(Fault::Malformed) }
}

/// How long a frame's head is, by its second byte.
fn head_length(second: u8) -> usize {
    match second & !MASKED {
        126 => 8,
        127 => MAX_HEAD,
        _ => 6,
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, mask) in word.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The code of a close frame (section 7.4): those that stand for the absence of one are not sent.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match *payload {
        [] => Ok(None),
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Fault::Malformed);
            }
            from_utf8(reason).map(|_| Some(code)).map_err(|_| Fault::NotUtf8)
        }
        _ => Err(Fault::Malformed),
    }
}

/// A whole message, or a control frame, to send.
pub(crate) fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(FIN | opcode as u8);
    match payload.len() {
        length @ 0..=125 => frame.put_u8(u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(u16::try_from(length).unwrap_or(0));
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.extend_from_slice(payload);
    frame.freeze()
}

/// What is in frames of [`encode`], one after the other.
pub(crate) fn payloads(mut frames: &[u8]) -> impl Iterator<Item = (Opcode, &[u8])> {
    std::iter::from_fn(move || {
        let [first, second, rest @ ..] = frames else { return None };
        let (extended, rest) = rest.split_at_checked(head_length(*second) - 6)?;
        let length = match extended {
            [] => usize::from(*second),
            _ => extended.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)),
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        frames = rest;
        Some((opcode(*first)?, payload))
    })
}

/// A close frame with its code and reason, which is cut to what such a frame may carry.
pub(crate) fn encode_close(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(123)];
    encode(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[cfg(test)]
mod tests;
