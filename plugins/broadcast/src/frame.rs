use bytes::Bytes;
use ratebus_model::{Quote, Status, compat::live_entry};

use crate::{
    codec::{self, Opcode},
    engineio::Packet,
    metrics::Encodes,
    resume::Token,
};

/// One quote in every encoding that clients get, each made once and shared by all of them.
#[derive(Debug)]
pub(crate) struct Frame {
    json: Box<str>,
    message: Bytes,
    event: Bytes,
    live: Option<Box<str>>,
    live_event: Bytes,
}

impl Frame {
    /// `token` is for who has been sent this and everything before.
    pub(crate) fn encode(quote: &Quote, status: Status, token: Token, encodes: &Encodes) -> serde_json::Result<Self> {
        encodes.quotes.increment(1);
        let json = serde_json::to_string(&quote.view(status))?;
        let entry = live_entry(quote, status);
        let live = format!("\"{}\":{}", quote.pair, serde_json::to_string(&entry)?);
        let live_event = live_event(&format!("{{{live}}}"));
        encodes.live_entries.increment(entry.is_some().into());
        Ok(Self {
            live_event: live_event.into_frames(),
            live: entry.map(|_| live.into()),
            event: format!("event: quote\nid: {token}\ndata: {json}\n\n").into(),
            message: codec::encode(
                Opcode::Text,
                format!(r#"{{"type":"quote","quote":{json},"position":"{token}"}}"#).as_bytes(),
            ),
            json: json.into(),
        })
    }

    /// The WebSocket message, as it goes over the wire.
    pub(crate) fn message(&self) -> &Bytes {
        &self.message
    }

    /// The SSE event.
    pub(crate) fn event(&self) -> &Bytes {
        &self.event
    }

    /// The entry of `rates:live` with its key; `None` where old clients must not see the pair.
    pub(crate) fn live(&self) -> Option<&str> {
        self.live.as_deref()
    }

    /// The event `rates:live` with this pair alone, as it goes over Socket.IO's WebSocket; the entry is `null` where there
    /// is none.
    pub(crate) fn live_event(&self) -> &Bytes {
        &self.live_event
    }

    fn json(&self) -> &str {
        &self.json
    }
}

/// The WebSocket message that starts a subscription, or a part of it; `token` is for who has been sent it, if one is.
pub(crate) fn snapshot_message<'a>(token: Option<Token>, frames: impl Iterator<Item = &'a Frame>) -> Bytes {
    let tail = token.map_or("]}".to_owned(), |token| format!(r#"],"position":"{token}"}}"#));
    codec::encode(Opcode::Text, join(r#"{"type":"snapshot","quotes":["#, frames.map(Frame::json), &tail).as_bytes())
}

/// The SSE event that starts a stream.
pub(crate) fn snapshot_event<'a>(token: Token, frames: impl Iterator<Item = &'a Frame>) -> Bytes {
    let head = format!("event: snapshot\nid: {token}\ndata: {{\"quotes\":[");
    join(&head, frames.map(Frame::json), "]}\n\n").into()
}

/// The event `rates:live`.
pub(crate) fn live_event(map: &str) -> Packet {
    Packet::message(&format!("2[\"rates:live\",{map}]"))
}

/// The argument of `rates:live`.
pub(crate) fn live_map<'a>(frames: impl Iterator<Item = &'a Frame>) -> String {
    join("{", frames.filter_map(Frame::live), "}")
}

fn join<'a>(head: &str, parts: impl Iterator<Item = &'a str>, tail: &str) -> String {
    let mut joined = head.to_owned();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            joined.push(',');
        }
        joined.push_str(part);
    }
    joined.push_str(tail);
    joined
}
