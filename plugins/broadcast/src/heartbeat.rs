use std::time::{Duration, Instant};

use bytes::Bytes;
use ratebus_model::SourceName;
use ratebus_sdk::Clock;
use serde_json::{Map, Value, json};

use crate::{
    board::Board,
    codec::{self, Opcode},
};

/// How often a client of a plain WebSocket is told that all is well though nothing changes.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);
/// Clients that are due within this are told the same.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// What clients are told when nothing may have changed, and a question whether they are there: one write, made once for
/// all clients of a loop that are due together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat(Option<(Instant, Bytes)>);

impl Heartbeat {
    pub(crate) fn get(&mut self, board: &Board, now: Instant) -> Bytes {
        match &self.0 {
            Some((made, bytes)) if now.saturating_duration_since(*made) < SHARED_FOR => bytes.clone(),
            _ => self.0.insert((now, encode(board, now))).1.clone(),
        }
    }
}

fn encode(board: &Board, now: Instant) -> Bytes {
    let age = |(source, age): (SourceName, Duration)| {
        (source.to_string(), Value::from(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    };
    let ages: Map<String, Value> = board.read().feed_ages(now).into_iter().map(age).collect();
    let beat = json!({ "type": "heartbeat", "time": Clock.arrival().time, "feedAgeMs": ages }).to_string();
    [codec::encode(Opcode::Text, beat.as_bytes()), codec::encode(Opcode::Ping, &[])].concat().into()
}
