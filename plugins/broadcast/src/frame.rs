use bytes::Bytes;
use ratebus_model::{Quote, Status, compat::live_entry};

use crate::{
    codec::{self, Opcode},
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
}

impl Frame {
    /// `token` is for who has been sent this and everything before.
    pub(crate) fn encode(quote: &Quote, status: Status, token: Token, encodes: &Encodes) -> serde_json::Result<Self> {
        encodes.quotes.increment(1);
        let json = serde_json::to_string(&quote.view(status))?;
        let live = match live_entry(quote, status) {
            Some(entry) => {
                encodes.live_entries.increment(1);
                Some(format!("\"{}\":{}", quote.pair, serde_json::to_string(&entry)?).into())
            }
            None => None,
        };
        Ok(Self {
            event: format!("event: quote\nid: {token}\ndata: {json}\n\n").into(),
            message: codec::encode(Opcode::Text, format!(r#"{{"type":"quote","quote":{json}}}"#).as_bytes()),
            json: json.into(),
            live,
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

    fn json(&self) -> &str {
        &self.json
    }
}

/// The WebSocket message that starts a subscription.
pub(crate) fn snapshot_message<'a>(frames: impl Iterator<Item = &'a Frame>) -> Bytes {
    codec::encode(Opcode::Text, join(r#"{"type":"snapshot","quotes":["#, frames.map(Frame::json), "]}").as_bytes())
}

/// The SSE event that starts a stream.
pub(crate) fn snapshot_event<'a>(token: Token, frames: impl Iterator<Item = &'a Frame>) -> Bytes {
    let head = format!("event: snapshot\nid: {token}\ndata: {{\"quotes\":[");
    join(&head, frames.map(Frame::json), "]}\n\n").into()
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
