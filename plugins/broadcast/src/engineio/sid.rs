//! Ids of sessions: what cannot be guessed, and where the session is.

use data_encoding::BASE64URL_NOPAD;

use crate::loops::Name;

/// The id of the session with this name.
pub(super) fn make(name: Name, secret: [u8; 16]) -> String {
    let (shard, index) = (name.shard.to_be_bytes(), name.index.to_be_bytes());
    BASE64URL_NOPAD.encode(&[&shard[6..], &index[2..], &secret[..]].concat())
}

/// The loop and the seat of the session of an id, if it is one.
pub(super) fn place(sid: &str) -> Option<(usize, usize)> {
    let bytes = BASE64URL_NOPAD.decode(sid.as_bytes()).ok()?;
    let (shard, index) = bytes.first_chunk::<8>()?.split_at(2);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
    Some((number(shard), number(index)))
}
