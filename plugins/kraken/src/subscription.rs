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
///
/// What is acknowledged and then silent for long is audited: given up and asked for anew, so that a subscription the
/// exchange lost without a word comes back. Most silent pairs are merely quiet, so all this goes on unseen: only an
/// audit without an answer makes a pair one to be acknowledged again.
pub(crate) struct Subscriptions {
    wanted: Vec<Wanted>,
    by_symbol: HashMap<String, usize>,
    by_pair: HashMap<Pair, usize>,
    pending: usize,
    acknowledged: usize,
    last_request: u64,
    answer_within: Duration,
    audit_after: Duration,
    patience: Duration,
    ask_at: Instant,
    audit_at: Instant,
}

struct Wanted {
    pair: Pair,
    symbol: String,
    standing: Standing,
    /// The last request that asked for it.
    request: u64,
    /// When its silence gets it audited or, if it is already, counts as no answer.
    overdue_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pending,
    Acknowledged,
    /// Acknowledged, and asked for anew: its snapshot is awaited.
    Audited,
    Refused,
}

/// What [`Subscriptions::audit`] does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// The messages to send now.
    pub(crate) messages: Vec<String>,
    /// The pairs they ask for.
    pub(crate) asked: Vec<Pair>,
    /// The pairs that did not answer an earlier audit. They are pending now.
    pub(crate) unanswered: Vec<Pair>,
}

impl Subscriptions {
    /// How many symbols go into one message. Kraken publishes no limit; other clients are known to send this many.
    const CHUNK: usize = 100;
    /// The longest of the ever longer waits.
    const MOST_PATIENCE: Duration = Duration::from_mins(1);
    /// One audit, of at most a chunk, in so long: a thousand quiet pairs are no burst.
    const AUDIT_EVERY: Duration = Duration::from_secs(1);

    /// All of `symbols` are wanted, and nothing is asked for yet. An answer may take `answer_within`; acknowledged pairs
    /// may be silent for `audit_after`.
    pub(crate) fn new(
        symbols: Vec<(Pair, String)>,
        answer_within: Duration,
        audit_after: Duration,
        now: Instant,
    ) -> Self {
        let wanted = |(pair, symbol)| Wanted { pair, symbol, standing: Standing::Pending, request: 0, overdue_at: now };
        let wanted: Vec<Wanted> = symbols.into_iter().map(wanted).collect();
        Self {
            by_symbol: wanted.iter().enumerate().map(|(index, wanted)| (wanted.symbol.clone(), index)).collect(),
            by_pair: wanted.iter().enumerate().map(|(index, wanted)| (wanted.pair, index)).collect(),
            pending: wanted.len(),
            wanted,
            acknowledged: 0,
            last_request: 0,
            answer_within,
            audit_after,
            patience: answer_within,
            ask_at: now,
            audit_at: now + audit_after,
        }
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
                wanted.overdue_at = now + self.audit_after;
            }
            messages.push(subscribe(chunk, self.last_request));
        }
        messages
    }

    /// When [`Subscriptions::audit`] is due.
    pub(crate) fn audit_due(&self) -> Instant {
        self.audit_at
    }

    /// Asks anew for the pairs that have been silent for longest, and gives up those that were asked in vain.
    pub(crate) fn audit(&mut self, now: Instant) -> Audit {
        let mut audit = Audit::default();
        if now < self.audit_at {
            return audit;
        }
        self.audit_at = now + Self::AUDIT_EVERY;
        let mut silent = Vec::new();
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.overdue_at <= now) {
            match wanted.standing {
                Standing::Acknowledged => silent.push(wanted),
                Standing::Audited => {
                    wanted.standing = Standing::Pending;
                    self.acknowledged -= 1;
                    self.pending += 1;
                    audit.unanswered.push(wanted.pair);
                }
                Standing::Pending | Standing::Refused => {}
            }
        }
        silent.sort_by_key(|wanted| wanted.overdue_at);
        silent.truncate(Self::CHUNK);
        if silent.is_empty() {
            return audit;
        }
        for wanted in &mut silent {
            wanted.standing = Standing::Audited;
            wanted.overdue_at = now + self.answer_within;
            audit.asked.push(wanted.pair);
        }
        self.last_request += 2;
        audit.messages.push(unsubscribe(&silent, self.last_request - 1));
        audit.messages.push(subscribe(&mut silent, self.last_request));
        audit
    }

    /// A pair's price came. Answers whether it ends the pair's audit: its snapshot does, while an update may be of the
    /// subscription that was given up.
    pub(crate) fn heard(&mut self, pair: Pair, snapshot: bool, now: Instant) -> bool {
        let Some(wanted) = self.by_pair.get(&pair).and_then(|&index| self.wanted.get_mut(index)) else { return false };
        let audited = wanted.standing == Standing::Audited;
        if audited && !snapshot {
            return false;
        }
        if audited {
            wanted.standing = Standing::Acknowledged;
        }
        wanted.overdue_at = now + self.audit_after;
        audited
    }

    /// An acknowledgement, of whichever request. Answers the pair, if it is one that was still pending.
    pub(crate) fn acknowledged(&mut self, symbol: &str) -> Option<Pair> {
        self.settle(symbol, None, Standing::Acknowledged)
    }

    /// A refusal for good, if it answers the last request for the symbol. Answers the pair, if it awaited an answer.
    pub(crate) fn refused(&mut self, symbol: &str, request: Option<u64>) -> Option<Pair> {
        self.settle(symbol, request, Standing::Refused)
    }

    /// The exchange drops what we send: nothing more before a pause, and longer ones from now on.
    pub(crate) fn throttled(&mut self, now: Instant) {
        self.wait_longer(now);
        self.audit_at = self.audit_at.max(self.ask_at);
    }

    /// Whether anything is acknowledged, so that heartbeats are due.
    pub(crate) fn any_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }

    fn settle(&mut self, symbol: &str, request: Option<u64>, standing: Standing) -> Option<Pair> {
        let wanted = self.wanted.get_mut(*self.by_symbol.get(symbol)?)?;
        if request.is_some_and(|request| request != wanted.request) {
            return None;
        }
        match (wanted.standing, standing) {
            (Standing::Pending, _) => {
                self.pending -= 1;
                self.acknowledged += usize::from(standing == Standing::Acknowledged);
            }
            (Standing::Audited, Standing::Refused) => self.acknowledged -= 1,
            _ => return None,
        }
        wanted.standing = standing;
        Some(wanted.pair)
    }

    fn wait_longer(&mut self, now: Instant) {
        self.ask_at = now + self.patience;
        self.patience = (self.patience * 2).min(Self::MOST_PATIENCE);
    }
}

/// By default Kraken sends trades only, and the book moves between them. To unsubscribe takes the same trigger again.
const EVENT_TRIGGER: &str = "bbo";

fn subscribe(wanted: &mut [&mut Wanted], request: u64) -> String {
    for wanted in &mut *wanted {
        wanted.request = request;
    }
    let params =
        json!({"channel": "ticker", "symbol": symbols(wanted), "event_trigger": EVENT_TRIGGER, "snapshot": true});
    json!({"method": "subscribe", "params": params, "req_id": request}).to_string()
}

fn unsubscribe(wanted: &[&mut Wanted], request: u64) -> String {
    let params = json!({"channel": "ticker", "symbol": symbols(wanted), "event_trigger": EVENT_TRIGGER});
    json!({"method": "unsubscribe", "params": params, "req_id": request}).to_string()
}

fn symbols<'w>(wanted: &'w [&mut Wanted]) -> Vec<&'w str> {
    wanted.iter().map(|wanted| wanted.symbol.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ANSWER: Duration = Duration::from_secs(5);
    const AUDIT: Duration = Duration::from_mins(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn pair(index: usize) -> Pair {
        format!("C{index}_USD").parse().unwrap()
    }

    fn subscriptions(count: usize, now: Instant) -> Subscriptions {
        let symbols = (0..count).map(|index| (pair(index), format!("C{index}/USD"))).collect();
        Subscriptions::new(symbols, ANSWER, AUDIT, now)
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

    /// As many pairs as `count`, all acknowledged and silent since `start`, and their first audit due.
    fn silent(count: usize, start: Instant) -> (Subscriptions, Instant) {
        let mut subscriptions = subscriptions(count, start);
        subscriptions.requests(start);
        for index in 0..count {
            subscriptions.acknowledged(&format!("C{index}/USD"));
        }
        let due = subscriptions.audit_due();
        assert_eq!(due, start + AUDIT);
        (subscriptions, due)
    }

    #[test]
    fn silent_pairs_are_asked_for_anew_a_chunk_at_a_time_and_the_others_not() {
        let (mut subscriptions, due) = silent(250, Instant::now());
        assert_eq!(subscriptions.audit(due.checked_sub(SECOND).unwrap()), Audit::default());
        for index in 0..20 {
            assert!(!subscriptions.heard(pair(index), false, due));
        }
        let mut asked = Vec::new();
        for (second, count) in [(0, 100), (1, 100), (2, 30), (3, 0)] {
            let now = due + SECOND * second;
            let audit = subscriptions.audit(now);
            assert_eq!(subscriptions.audit(now), Audit::default());
            assert_eq!(subscriptions.audit_due(), now + SECOND);
            assert_eq!((audit.asked.len(), audit.messages.len()), (count, if count > 0 { 2 } else { 0 }));
            asked.extend(audit.asked);
        }
        assert_eq!(asked, (20..250).map(pair).collect::<Vec<_>>());
        assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, true));
    }

    #[test]
    fn an_audit_unsubscribes_and_subscribes_with_the_same_trigger() {
        let (mut subscriptions, due) = silent(2, Instant::now());
        let audit = subscriptions.audit(due);
        let messages: Vec<Value> = audit.messages.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let params = |extra: Value| {
            let mut params = json!({"channel": "ticker", "event_trigger": "bbo", "symbol": ["C0/USD", "C1/USD"]});
            params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            params
        };
        assert_eq!(messages[0], json!({"method": "unsubscribe", "req_id": 2, "params": params(json!({}))}));
        let expected = json!({"method": "subscribe", "req_id": 3, "params": params(json!({"snapshot": true}))});
        assert_eq!(messages[1], expected);
    }

    #[test]
    fn a_snapshot_alone_answers_an_audit() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.audit(due);
        assert_eq!(subscriptions.acknowledged("C0/USD"), None);
        assert!(!subscriptions.heard(pair(0), false, due));
        assert!(subscriptions.heard(pair(0), true, due));
        assert!(!subscriptions.heard(pair(0), true, due));
        assert_eq!(subscriptions.audit((due + AUDIT).checked_sub(SECOND).unwrap()), Audit::default());
        assert_eq!(subscriptions.audit(due + AUDIT).asked, [pair(0)]);
    }

    #[test]
    fn an_unanswered_audit_leaves_a_pair_to_be_acknowledged_again() {
        let (mut subscriptions, due) = silent(2, Instant::now());
        subscriptions.audit(due);
        assert!(subscriptions.heard(pair(1), true, due));
        let late = due + ANSWER;
        assert_eq!(subscriptions.audit(late), Audit { unanswered: vec![pair(0)], ..Audit::default() });
        assert!(subscriptions.any_acknowledged());
        assert_eq!(asked(&subscriptions.requests(late)), [(4, 1)]);
        assert_eq!(subscriptions.acknowledged("C0/USD"), Some(pair(0)));
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn a_pair_refused_in_an_audit_is_neither_acknowledged_nor_asked_for_again() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.audit(due);
        assert_eq!(subscriptions.refused("C0/USD", Some(1)), None);
        assert_eq!(subscriptions.refused("C0/USD", Some(3)), Some(pair(0)));
        assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, false));
        assert_eq!(subscriptions.audit(due + AUDIT), Audit::default());
    }

    #[test]
    fn throttling_puts_audits_off() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.throttled(due);
        assert_eq!(subscriptions.audit_due(), due + 2 * ANSWER);
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
