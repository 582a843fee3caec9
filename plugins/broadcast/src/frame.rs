use bytes::Bytes;
use ratebus_model::{Quote, Status, Version, compat::live_entry};

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
    /// For who has the quote, where it is the same with another status.
    again: Option<Box<Again>>,
}

/// What is said of a quote again.
#[derive(Debug)]
struct Again {
    message: Bytes,
    event: Bytes,
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
            again: None,
        })
    }

    /// A quote that was told before, with another status.
    pub(crate) fn encode_again(
        quote: &Quote,
        status: Status,
        token: Token,
        encodes: &Encodes,
    ) -> serde_json::Result<Self> {
        let (pair, Version { epoch, sequence }) = (quote.pair, quote.version);
        let status_text = serde_json::to_string(&status)?;
        let fields = format!(r#""pair":"{pair}","status":{status_text},"epoch":"{epoch}","sequence":{sequence}"#);
        let message = format!(r#"{{"type":"status",{fields},"position":"{token}"}}"#);
        let again = Again {
            message: codec::encode(Opcode::Text, message.as_bytes()),
            event: format!("event: status\nid: {token}\ndata: {{{fields}}}\n\n").into(),
        };
        Ok(Self { again: Some(Box::new(again)), ..Self::encode(quote, status, token, encodes)? })
    }

    /// The WebSocket message, as it goes over the wire: the quote, or for who has that its status.
    pub(crate) fn message(&self, has_quote: bool) -> &Bytes {
        self.again.as_ref().filter(|_| has_quote).map_or(&self.message, |again| &again.message)
    }

    /// The SSE event, as [`Frame::message`].
    pub(crate) fn event(&self, has_quote: bool) -> &Bytes {
        self.again.as_ref().filter(|_| has_quote).map_or(&self.event, |again| &again.event)
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
