use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ratebus_model::Pair;

use super::{Exchange, Rules};

#[cfg(test)]
mod tests;

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
    /// When any price came last; at first, the beginning.
    heard_at: Instant,
    answer_within: Duration,
    audit_after: Duration,
    chunk: usize,
    /// How many messages may go out in a second.
    at_once: usize,
    /// Where asking goes on, when not all could be asked for at once.
    next: usize,
    patience: Duration,
    ask_at: Instant,
    /// None where asking anew brings no price.
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
    /// The pairs whose silence is no longer believed to be a quiet market: those that the messages ask for, and where
    /// nothing can be asked all that are silent. Only a price vouches for them.
    pub(crate) doubted: Vec<Pair>,
    /// The pairs that did not answer an earlier audit. They are pending now.
    pub(crate) unanswered: Vec<Pair>,
}

impl Subscriptions {
    const SECOND: Duration = Duration::from_secs(1);
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
            heard_at: now,
            answer_within,
            audit_after,
            chunk: rules.symbols_per_message,
            at_once: rules.messages_per_second,
            next: 0,
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

    /// The messages to send now, as many as may go out at once. Each has its own request id.
    pub(crate) fn requests(&mut self, exchange: &impl Exchange, now: Instant) -> Vec<String> {
        if now < self.ask_at {
            return Vec::new();
        }
        let most = self.chunk.saturating_mul(self.at_once);
        let pending = self.wanted.iter_mut().enumerate().skip(self.next);
        let pending = pending.filter(|(_, wanted)| wanted.standing == Standing::Pending).take(most);
        let (indices, mut pending): (Vec<usize>, Vec<&mut Wanted>) = pending.unzip();
        let mut messages = Vec::new();
        for chunk in pending.chunks_mut(self.chunk) {
            self.last_request += 1;
            for wanted in &mut *chunk {
                wanted.overdue_at = now + self.audit_after;
            }
            messages.push(subscribe(exchange, chunk, self.last_request));
        }
        let rest = indices.last().and_then(|last| self.wanted.get(last + 1..)).unwrap_or_default();
        if rest.iter().any(|wanted| wanted.standing == Standing::Pending) {
            self.next = self.wanted.len() - rest.len();
            self.ask_at = now + Self::SECOND;
        } else {
            self.next = 0;
            self.wait_longer(now);
        }
        messages
    }

    /// A number for a message that asks for no pair.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// When [`Subscriptions::audit`] is due.
    pub(crate) fn audit_due(&self) -> Instant {
        self.audit_at
    }

    /// Asks anew for the pairs that have been silent for longest, a chunk at a time so that a thousand quiet pairs are no
    /// burst, and gives up those that were asked in vain. Where asking anew brings no price, silent pairs are only doubted:
    /// an exchange can lose its market data and still answer everything else.
    pub(crate) fn audit(&mut self, exchange: &impl Exchange, now: Instant) -> Audit {
        let mut audit = Audit::default();
        if now < self.audit_at {
            return audit;
        }
        self.audit_at = now + self.audit_every.unwrap_or(Self::SECOND);
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
        if self.audit_every.is_none() {
            for wanted in silent {
                wanted.overdue_at = now + self.audit_after;
                audit.doubted.push(wanted.pair);
            }
            return audit;
        }
        silent.sort_by_key(|wanted| wanted.overdue_at);
        silent.truncate(self.chunk);
        if silent.is_empty() {
            return audit;
        }
        for wanted in &mut silent {
            wanted.standing = Standing::Audited;
            wanted.overdue_at = now + self.answer_within;
            audit.doubted.push(wanted.pair);
        }
        self.last_request += 2;
        audit.messages.extend(exchange.unsubscribe(self.last_request - 1, &symbols(&silent)));
        audit.messages.push(subscribe(exchange, &mut silent, self.last_request));
        audit
    }

    /// Whether nothing has had a price for so long that the market data may be lost, where no audit would bring it back.
    pub(crate) fn is_without_prices(&self, now: Instant) -> bool {
        self.audit_every.is_none() && self.acknowledged > 0 && now >= self.heard_at + self.audit_after
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
        self.heard_at = now;
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
