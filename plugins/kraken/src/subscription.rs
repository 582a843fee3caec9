use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ratebus_model::Pair;
use serde_json::json;

/// What one connection has asked for, what was acknowledged, and when to ask again for the rest.
///
/// Few large messages: clients that sent one per symbol were throttled and silently got a part. What is not
/// acknowledged in time is asked for again, and only that, ever more seldom.
pub(crate) struct Subscriptions {
    wanted: Vec<Wanted>,
    by_symbol: HashMap<String, usize>,
    pending: usize,
    acknowledged: usize,
    last_request: u64,
    patience: Duration,
    ask_at: Instant,
}

struct Wanted {
    pair: Pair,
    symbol: String,
    standing: Standing,
    /// The last request that asked for it.
    request: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pending,
    Acknowledged,
    Refused,
}

impl Subscriptions {
    /// How many symbols go into one message. Kraken publishes no limit; other clients are known to send this many.
    const CHUNK: usize = 100;
    /// The longest of the ever longer waits.
    const MOST_PATIENCE: Duration = Duration::from_mins(1);

    /// All of `symbols` are wanted, and nothing is asked for yet. An acknowledgement may take `patience`.
    pub(crate) fn new(symbols: Vec<(Pair, String)>, patience: Duration, now: Instant) -> Self {
        let wanted = |(pair, symbol)| Wanted { pair, symbol, standing: Standing::Pending, request: 0 };
        let wanted: Vec<Wanted> = symbols.into_iter().map(wanted).collect();
        let by_symbol = wanted.iter().enumerate().map(|(index, wanted)| (wanted.symbol.clone(), index)).collect();
        let pending = wanted.len();
        Self { wanted, by_symbol, pending, acknowledged: 0, last_request: 0, patience, ask_at: now }
    }

    /// When [`Subscriptions::requests`] has something to send.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.pending > 0).then_some(self.ask_at)
    }

    /// The messages to send now. Each has its own request id.
    pub(crate) fn requests(&mut self, now: Instant) -> Vec<String> {
        if now < self.ask_at {
            return Vec::new();
        }
        self.wait_longer(now);
        let mut pending: Vec<_> = self.wanted.iter_mut().filter(|w| w.standing == Standing::Pending).collect();
        let mut messages = Vec::new();
        for chunk in pending.chunks_mut(Self::CHUNK) {
            self.last_request += 1;
            for wanted in &mut *chunk {
                wanted.request = self.last_request;
            }
            let symbols: Vec<&str> = chunk.iter().map(|wanted| wanted.symbol.as_str()).collect();
            // By default Kraken sends trades only, and the book moves between them.
            let params = json!({"channel": "ticker", "symbol": symbols, "event_trigger": "bbo", "snapshot": true});
            messages.push(json!({"method": "subscribe", "params": params, "req_id": self.last_request}).to_string());
        }
        messages
    }

    /// An acknowledgement, of whichever request. Answers the pair, if it is one that was still pending.
    pub(crate) fn acknowledged(&mut self, symbol: &str) -> Option<Pair> {
        self.settle(symbol, None, Standing::Acknowledged)
    }

    /// A refusal for good, if it answers the last request for the symbol. Answers the pair, if it was still pending.
    pub(crate) fn refused(&mut self, symbol: &str, request: Option<u64>) -> Option<Pair> {
        self.settle(symbol, request, Standing::Refused)
    }

    /// The exchange drops what we send: nothing more before a pause, and longer ones from now on.
    pub(crate) fn throttled(&mut self, now: Instant) {
        self.wait_longer(now);
    }

    /// Whether anything is acknowledged, so that heartbeats are due.
    pub(crate) fn any_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }

    fn settle(&mut self, symbol: &str, request: Option<u64>, standing: Standing) -> Option<Pair> {
        let wanted = self.wanted.get_mut(*self.by_symbol.get(symbol)?)?;
        if wanted.standing != Standing::Pending || request.is_some_and(|request| request != wanted.request) {
            return None;
        }
        wanted.standing = standing;
        self.pending -= 1;
        self.acknowledged += usize::from(standing == Standing::Acknowledged);
        Some(wanted.pair)
    }

    fn wait_longer(&mut self, now: Instant) {
        self.ask_at = now + self.patience;
        self.patience = (self.patience * 2).min(Self::MOST_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pair(index: usize) -> Pair {
        format!("C{index}_USD").parse().unwrap()
    }

    fn subscriptions(count: usize, now: Instant) -> Subscriptions {
        let symbols = (0..count).map(|index| (pair(index), format!("C{index}/USD"))).collect();
        Subscriptions::new(symbols, Duration::from_secs(5), now)
    }

    fn asked(messages: &[String]) -> Vec<(u64, usize)> {
        let read = |message: &String| {
            let json: Value = serde_json::from_str(message).unwrap();
            assert_eq!(json["method"], "subscribe");
            assert_eq!(json["params"]["event_trigger"], "bbo");
            (json["req_id"].as_u64().unwrap(), json["params"]["symbol"].as_array().unwrap().len())
        };
        messages.iter().map(read).collect()
    }

    #[test]
    fn all_pairs_go_out_in_few_messages_and_only_the_missing_again() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(250, start);
        assert_eq!(asked(&subscriptions.requests(start)), [(1, 100), (2, 100), (3, 50)]);
        assert_eq!(subscriptions.requests(start), [""; 0]);
        for index in 0..248 {
            assert_eq!(subscriptions.acknowledged(&format!("C{index}/USD")), Some(pair(index)));
        }
        assert_eq!(subscriptions.acknowledged("C0/USD"), None);
        assert_eq!(subscriptions.acknowledged("X/USD"), None);
        let due = subscriptions.due().unwrap();
        assert_eq!(due - start, Duration::from_secs(5));
        assert_eq!(asked(&subscriptions.requests(due)), [(4, 2)]);
        assert_eq!(subscriptions.due().unwrap() - due, Duration::from_secs(10));
        subscriptions.acknowledged("C248/USD");
        subscriptions.acknowledged("C249/USD");
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn a_refusal_counts_if_it_answers_the_last_request() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(2, start);
        subscriptions.requests(start);
        assert_eq!(subscriptions.refused("C0/USD", Some(9)), None);
        assert_eq!(subscriptions.refused("C0/USD", Some(1)), Some(pair(0)));
        assert_eq!(subscriptions.refused("C1/USD", None), Some(pair(1)));
        assert!(!subscriptions.any_acknowledged());
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn throttling_waits_longer_each_time() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(1, start);
        subscriptions.requests(start);
        let mut waits = Vec::new();
        for _ in 0..5 {
            subscriptions.throttled(start);
            waits.push((subscriptions.due().unwrap() - start).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60, 60]);
    }
}
