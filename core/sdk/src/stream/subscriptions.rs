use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ratebus_model::Pair;

use super::{Exchange, Rules};

/// What one connection has asked for, what was acknowledged, and when to ask again for the rest.
///
/// What is not acknowledged in time is asked for again, and only that, ever more seldom.
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
    chunk: usize,
    patience: Duration,
    ask_at: Instant,
    /// None where audits are of no use.
    audit_every: Option<Duration>,
    audit_at: Instant,
}

struct Wanted {
    pair: Pair,
    symbol: String,
    standing: Standing,
    /// The last request that asked for it.
    request: u64,
    /// Whether a price came since then.
    heard: bool,
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
    /// The longest of the ever longer waits.
    const MOST_PATIENCE: Duration = Duration::from_mins(1);

    /// All of `symbols` are wanted, and nothing is asked for yet. An answer may take `answer_within`; acknowledged pairs
    /// may be silent for `audit_after`.
    pub(crate) fn new(
        symbols: Vec<(Pair, String)>,
        rules: &Rules,
        answer_within: Duration,
        audit_after: Duration,
        now: Instant,
    ) -> Self {
        let standing = Standing::Pending;
        let wanted = |(pair, symbol)| Wanted { pair, symbol, standing, request: 0, heard: false, overdue_at: now };
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
            chunk: rules.symbols_per_message,
            patience: answer_within,
            ask_at: now,
            audit_every: rules.audit_every,
            audit_at: now + audit_after,
        }
    }

    /// When [`Subscriptions::requests`] has something to send.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.pending > 0).then_some(self.ask_at)
    }

    /// The messages to send now. Each has its own request id.
    pub(crate) fn requests(&mut self, exchange: &impl Exchange, now: Instant) -> Vec<String> {
        if now < self.ask_at {
            return Vec::new();
        }
        self.wait_longer(now);
        let mut pending: Vec<_> = self.wanted.iter_mut().filter(|w| w.standing == Standing::Pending).collect();
        let mut messages = Vec::new();
        for chunk in pending.chunks_mut(self.chunk) {
            self.last_request += 1;
            for wanted in &mut *chunk {
                wanted.overdue_at = now + self.audit_after;
            }
            messages.push(subscribe(exchange, chunk, self.last_request));
        }
        messages
    }

    /// A number for a message that asks for no pair.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// When [`Subscriptions::audit`] is due, if ever.
    pub(crate) fn audit_due(&self) -> Option<Instant> {
        self.audit_every.map(|_| self.audit_at)
    }

    /// Asks anew for the pairs that have been silent for longest, a chunk at a time so that a thousand quiet pairs are no
    /// burst, and gives up those that were asked in vain.
    pub(crate) fn audit(&mut self, exchange: &impl Exchange, now: Instant) -> Audit {
        let mut audit = Audit::default();
        let Some(every) = self.audit_every.filter(|_| now >= self.audit_at) else { return audit };
        self.audit_at = now + every;
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
        silent.truncate(self.chunk);
        if silent.is_empty() {
            return audit;
        }
        for wanted in &mut silent {
            wanted.standing = Standing::Audited;
            wanted.overdue_at = now + self.answer_within;
            audit.asked.push(wanted.pair);
        }
        self.last_request += 2;
        audit.messages.extend(exchange.unsubscribe(self.last_request - 1, &symbols(&silent)));
        audit.messages.push(subscribe(exchange, &mut silent, self.last_request));
        audit
    }

    /// Whether no price of the pair came since it was last asked for.
    pub(crate) fn is_first(&self, pair: Pair) -> bool {
        self.by_pair.get(&pair).and_then(|&index| self.wanted.get(index)).is_some_and(|wanted| !wanted.heard)
    }

    /// A pair's price came. Answers whether it ends the pair's audit: its snapshot does, while an update may be of the
    /// subscription that was given up.
    pub(crate) fn heard(&mut self, pair: Pair, snapshot: bool, now: Instant) -> bool {
        let Some(wanted) = self.by_pair.get(&pair).and_then(|&index| self.wanted.get_mut(index)) else { return false };
        wanted.heard = true;
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
        self.settle(*self.by_symbol.get(symbol)?, None, Standing::Acknowledged)
    }

    /// A price that shows its subscription. Answers the pair, if it is one that was still pending.
    pub(crate) fn shown(&mut self, pair: Pair) -> Option<Pair> {
        self.settle(*self.by_pair.get(&pair)?, None, Standing::Acknowledged)
    }

    /// An acknowledgement of all that a request asked for. Answers the pairs that were still pending.
    pub(crate) fn accepted(&mut self, request: u64) -> Vec<Pair> {
        (0..self.wanted.len()).filter_map(|index| self.settle(index, Some(request), Standing::Acknowledged)).collect()
    }

    /// The exchange says what it holds. Answers the acknowledged pairs that are not among it; they are pending now.
    pub(crate) fn held(&mut self, symbols: &[Cow<'_, str>]) -> Vec<Pair> {
        let symbols: HashSet<&str> = symbols.iter().map(|symbol| &**symbol).collect();
        let is_lost = |wanted: &&mut Wanted| {
            wanted.standing == Standing::Acknowledged && !symbols.contains(wanted.symbol.as_str())
        };
        let mut lost = Vec::new();
        for wanted in self.wanted.iter_mut().filter(is_lost) {
            wanted.standing = Standing::Pending;
            lost.push(wanted.pair);
        }
        self.acknowledged -= lost.len();
        self.pending += lost.len();
        lost
    }

    /// A refusal for good, if it answers the last request for the symbol. Answers the pair, if it awaited an answer.
    pub(crate) fn refused(&mut self, symbol: &str, request: Option<u64>) -> Option<Pair> {
        self.settle(*self.by_symbol.get(symbol)?, request, Standing::Refused)
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

    fn settle(&mut self, index: usize, request: Option<u64>, standing: Standing) -> Option<Pair> {
        let wanted = self.wanted.get_mut(index)?;
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

fn subscribe(exchange: &impl Exchange, wanted: &mut [&mut Wanted], request: u64) -> String {
    for wanted in &mut *wanted {
        wanted.request = request;
        wanted.heard = false;
    }
    exchange.subscribe(request, &symbols(wanted))
}

fn symbols<'w>(wanted: &'w [&mut Wanted]) -> Vec<&'w str> {
    wanted.iter().map(|wanted| wanted.symbol.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::{feed::Decode, stream::Symbols};

    #[derive(Default, Deserialize)]
    struct Toy {}

    impl Exchange for Toy {
        const TYPE: &'static str = "source/toy";
        const ENDPOINT: Option<&'static str> = None;

        fn symbol(&self, pair: Pair) -> String {
            pair.to_string()
        }

        fn decoder(&self, _: Symbols) -> Box<dyn Decode> {
            unreachable!("no frames come here")
        }

        fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
            json!({"subscribe": symbols, "id": request}).to_string()
        }

        fn unsubscribe(&self, request: u64, symbols: &[&str]) -> Option<String> {
            Some(json!({"unsubscribe": symbols, "id": request}).to_string())
        }
    }

    const ANSWER: Duration = Duration::from_secs(5);
    const AUDIT: Duration = Duration::from_mins(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn pair(index: usize) -> Pair {
        format!("C{index}_USD").parse().unwrap()
    }

    fn subscriptions(count: usize, now: Instant) -> Subscriptions {
        let symbols = (0..count).map(|index| (pair(index), format!("C{index}/USD"))).collect();
        Subscriptions::new(symbols, &Rules::default(), ANSWER, AUDIT, now)
    }

    fn asked(messages: &[String]) -> Vec<(u64, usize)> {
        let read = |message: &String| {
            let json: Value = serde_json::from_str(message).unwrap();
            (json["id"].as_u64().unwrap(), json["subscribe"].as_array().unwrap().len())
        };
        messages.iter().map(read).collect()
    }

    #[test]
    fn all_pairs_go_out_in_few_messages_and_only_the_missing_again() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(250, start);
        assert_eq!(asked(&subscriptions.requests(&Toy {}, start)), [(1, 100), (2, 100), (3, 50)]);
        assert_eq!(subscriptions.requests(&Toy {}, start), [""; 0]);
        for index in 0..248 {
            assert_eq!(subscriptions.acknowledged(&format!("C{index}/USD")), Some(pair(index)));
        }
        assert_eq!(subscriptions.acknowledged("C0/USD"), None);
        assert_eq!(subscriptions.acknowledged("X/USD"), None);
        let due = subscriptions.due().unwrap();
        assert_eq!(due - start, Duration::from_secs(5));
        assert_eq!(asked(&subscriptions.requests(&Toy {}, due)), [(4, 2)]);
        assert_eq!(subscriptions.due().unwrap() - due, Duration::from_secs(10));
        subscriptions.acknowledged("C248/USD");
        subscriptions.acknowledged("C249/USD");
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn a_refusal_counts_if_it_answers_the_last_request() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(2, start);
        subscriptions.requests(&Toy {}, start);
        assert_eq!(subscriptions.refused("C0/USD", Some(9)), None);
        assert_eq!(subscriptions.refused("C0/USD", Some(1)), Some(pair(0)));
        assert_eq!(subscriptions.refused("C1/USD", None), Some(pair(1)));
        assert!(!subscriptions.any_acknowledged());
        assert_eq!(subscriptions.due(), None);
    }

    /// As many pairs as `count`, all acknowledged and silent since `start`, and their first audit due.
    fn silent(count: usize, start: Instant) -> (Subscriptions, Instant) {
        let mut subscriptions = subscriptions(count, start);
        subscriptions.requests(&Toy {}, start);
        for index in 0..count {
            subscriptions.acknowledged(&format!("C{index}/USD"));
        }
        let due = subscriptions.audit_due().unwrap();
        assert_eq!(due, start + AUDIT);
        (subscriptions, due)
    }

    #[test]
    fn silent_pairs_are_asked_for_anew_a_chunk_at_a_time_and_the_others_not() {
        let (mut subscriptions, due) = silent(250, Instant::now());
        assert_eq!(subscriptions.audit(&Toy {}, due.checked_sub(SECOND).unwrap()), Audit::default());
        for index in 0..20 {
            assert!(!subscriptions.heard(pair(index), false, due));
        }
        let mut asked = Vec::new();
        for (second, count) in [(0, 100), (1, 100), (2, 30), (3, 0)] {
            let now = due + SECOND * second;
            let audit = subscriptions.audit(&Toy {}, now);
            assert_eq!(subscriptions.audit(&Toy {}, now), Audit::default());
            assert_eq!(subscriptions.audit_due(), Some(now + SECOND));
            assert_eq!((audit.asked.len(), audit.messages.len()), (count, if count > 0 { 2 } else { 0 }));
            asked.extend(audit.asked);
        }
        assert_eq!(asked, (20..250).map(pair).collect::<Vec<_>>());
        assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, true));
    }

    #[test]
    fn an_audit_unsubscribes_and_subscribes() {
        let (mut subscriptions, due) = silent(2, Instant::now());
        let messages = subscriptions.audit(&Toy {}, due).messages;
        let symbols = r#"["C0/USD","C1/USD"]"#;
        let expected =
            [format!(r#"{{"id":2,"unsubscribe":{symbols}}}"#), format!(r#"{{"id":3,"subscribe":{symbols}}}"#)];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_request_that_is_accepted_acknowledges_what_it_asked_for_and_no_more() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(150, start);
        subscriptions.requests(&Toy {}, start);
        assert_eq!(subscriptions.refused("C101/USD", Some(2)), Some(pair(101)));
        assert_eq!(subscriptions.accepted(2).len(), 49);
        assert_eq!(subscriptions.accepted(2), []);
        assert_eq!(subscriptions.accepted(7), []);
        assert_eq!(subscriptions.shown(pair(0)), Some(pair(0)));
        assert_eq!(subscriptions.accepted(1).len(), 99);
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn what_the_exchange_no_longer_holds_is_asked_for_again() {
        let (mut subscriptions, now) = silent(3, Instant::now());
        assert_eq!(subscriptions.held(&["C2/USD".into(), "C0/USD".into(), "X".into()]), [pair(1)]);
        assert_eq!(subscriptions.held(&["C2/USD".into(), "C0/USD".into()]), []);
        assert_eq!(asked(&subscriptions.requests(&Toy {}, now)), [(2, 1)]);
        assert_eq!(subscriptions.acknowledged("C1/USD"), Some(pair(1)));
        assert_eq!(subscriptions.held(&[]).len(), 3);
        assert!(!subscriptions.any_acknowledged());
    }

    #[test]
    fn the_first_price_after_each_request_is_known_as_such() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        assert!(subscriptions.is_first(pair(0)));
        subscriptions.heard(pair(0), false, due);
        assert!(!subscriptions.is_first(pair(0)));
        subscriptions.audit(&Toy {}, due + AUDIT);
        assert!(subscriptions.is_first(pair(0)));
        assert!(!subscriptions.is_first(pair(1)));
    }

    #[test]
    fn a_snapshot_alone_answers_an_audit() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.audit(&Toy {}, due);
        assert_eq!(subscriptions.acknowledged("C0/USD"), None);
        assert!(!subscriptions.heard(pair(0), false, due));
        assert!(subscriptions.heard(pair(0), true, due));
        assert!(!subscriptions.heard(pair(0), true, due));
        assert_eq!(subscriptions.audit(&Toy {}, (due + AUDIT).checked_sub(SECOND).unwrap()), Audit::default());
        assert_eq!(subscriptions.audit(&Toy {}, due + AUDIT).asked, [pair(0)]);
    }

    #[test]
    fn an_unanswered_audit_leaves_a_pair_to_be_acknowledged_again() {
        let (mut subscriptions, due) = silent(2, Instant::now());
        subscriptions.audit(&Toy {}, due);
        assert!(subscriptions.heard(pair(1), true, due));
        let late = due + ANSWER;
        assert_eq!(subscriptions.audit(&Toy {}, late), Audit { unanswered: vec![pair(0)], ..Audit::default() });
        assert!(subscriptions.any_acknowledged());
        assert_eq!(asked(&subscriptions.requests(&Toy {}, late)), [(4, 1)]);
        assert_eq!(subscriptions.acknowledged("C0/USD"), Some(pair(0)));
        assert_eq!(subscriptions.due(), None);
    }

    #[test]
    fn a_pair_refused_in_an_audit_is_neither_acknowledged_nor_asked_for_again() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.audit(&Toy {}, due);
        assert_eq!(subscriptions.refused("C0/USD", Some(1)), None);
        assert_eq!(subscriptions.refused("C0/USD", Some(3)), Some(pair(0)));
        assert_eq!((subscriptions.due(), subscriptions.any_acknowledged()), (None, false));
        assert_eq!(subscriptions.audit(&Toy {}, due + AUDIT), Audit::default());
    }

    #[test]
    fn throttling_puts_audits_off() {
        let (mut subscriptions, due) = silent(1, Instant::now());
        subscriptions.throttled(due);
        assert_eq!(subscriptions.audit_due(), Some(due + 2 * ANSWER));
    }

    #[test]
    fn throttling_waits_longer_each_time() {
        let start = Instant::now();
        let mut subscriptions = subscriptions(1, start);
        subscriptions.requests(&Toy {}, start);
        let mut waits = Vec::new();
        for _ in 0..5 {
            subscriptions.throttled(start);
            waits.push((subscriptions.due().unwrap() - start).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60, 60]);
    }
}
