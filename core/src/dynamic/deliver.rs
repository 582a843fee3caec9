use std::{collections::VecDeque, ffi::c_void, ptr, sync::Arc};

use ratebus_abi::{self as abi, Text, status};
use ratebus_model::{Message, Payload, wire::WirePayload};
use ratebus_sdk::{Clock, export::convert::with_rate};

use super::library::SinkCalls;

/// Offers messages to the sink of `handle`; how many it took. In the thread of its calls.
pub(super) fn deliver(sink: SinkCalls, handle: *mut c_void, batch: &VecDeque<Arc<Message>>) -> usize {
    let offer = |message: &abi::Message| {
        let mut accepted = 0;
        // SAFETY: the handle is the instance's; the message and what it points to live until it returns.
        #[expect(unsafe_code, reason = "a call of a library")]
        let status = unsafe { (sink.deliver)(handle, ptr::from_ref(message), 1, &raw mut accepted) };
        // What it does not understand it will not understand later.
        accepted == 1 || !matches!(status, status::OK | status::FULL)
    };
    batch.iter().take_while(|message| with_message(message, offer)).count()
}

/// Calls `use_it` with `message` as it crosses the boundary.
fn with_message<R>(message: &Message, use_it: impl FnOnce(&abi::Message) -> R) -> R {
    let crossing = |rate: *const abi::Rate, json: &str| {
        use_it(&abi::Message {
            size: abi::size_of::<abi::Message>(),
            reserved: 0,
            subject: Text::new(message.subject.as_str()),
            rate,
            json: Text::new(json),
            epoch: message.version.epoch.number(),
            sequence: message.version.sequence,
            published_micros: message.published_at.micros(),
        })
    };
    let now = Clock.now();
    if let Payload::Rate(rate) = &message.payload {
        return with_rate(rate, now, |rate| crossing(ptr::from_ref(rate), ""));
    }
    // A payload of ours always has a text.
    let json = serde_json::to_string(&WirePayload::new(&message.payload, now)).unwrap_or_default();
    crossing(ptr::null(), &json)
}
