use std::{
    convert::Infallible,
    ops::Range,
    time::{Duration, Instant},
};

use ratebus_model::{Arrival, Market, Pair, PairState, Tick};
use tokio::{
    pin, select,
    time::{Instant as TokioInstant, sleep_until},
};

use super::{
    Exchange, Liveness, Rules,
    connection::{Connection, Frame},
    ending::Ending,
    source::Feed,
    subscriptions::Subscriptions,
};
use crate::{backoff, feed::FeedEvent};

/// One connection from its handshake to its end: asks for the pairs, takes what comes, and watches for silence.
pub(crate) struct Session<'s, E> {
    feed: &'s mut Feed<E>,
    connection: Connection,
    rules: Rules,
    subscriptions: Subscriptions,
    started: Instant,
    /// When anything at all was last heard as text, pongs included.
    answered_at: Instant,
    /// When the feed itself was last heard: data, heartbeats, acknowledgements.
    fed_at: Instant,
    /// When it was first.
    fed_since: Option<Instant>,
    keepalive_every: Duration,
    keepalive_at: Instant,
    /// When the connection is replaced for its age.
    rotate_at: Option<Instant>,
    /// Whether the pairs have had their time to arrive, so that missing ones are named.
    settled: bool,
}

impl<'s, E: Exchange> Session<'s, E> {
    /// Servers and what lies between drop a connection after about a minute without traffic.
    const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
    /// Without any answer for so long a connection is given up, and at this age without any acknowledged pair while one
    /// is due.
    const ANSWER_WITHIN: Duration = Duration::from_secs(30);

    pub(crate) fn new(feed: &'s mut Feed<E>, connection: Connection) -> Self {
        let now = feed.ctx.clock().now();
        let rules = feed.exchange.rules();
        let usual = match rules.liveness {
            Liveness::Heartbeats => Self::KEEPALIVE_EVERY,
            Liveness::Answers => feed.stall_after / 2,
        };
        let keepalive_every = rules.keepalive_every.unwrap_or(usual);
        let subscriptions = Subscriptions::new(feed.wanted(), &rules, feed.stall_after, feed.audit_after, now);
        Self {
            feed,
            connection,
            subscriptions,
            started: now,
            answered_at: now,
            fed_at: now,
            fed_since: None,
            keepalive_every,
            keepalive_at: now + keepalive_every,
            rotate_at: rules.rotate_after.as_ref().map(|ages| now + drawn(ages)),
            settled: false,
            rules,
        }
    }

    /// Runs until the connection ends. Also answers for how long there was data.
    pub(crate) async fn run(mut self) -> (Ending, Duration) {
        let _connected = self.feed.meter.connected();
        let Err(ending) = self.serve().await;
        let healthy = self.fed_since.map_or(Duration::ZERO, |since| self.fed_at.saturating_duration_since(since));
        (ending, healthy)
    }

    async fn serve(&mut self) -> Result<Infallible, Ending> {
        let timer = sleep_until(self.started.into());
        pin!(timer);
        loop {
            select! {
                frame = self.connection.receive() => self.take(&frame?)?,
                () = timer.as_mut() => {
                    self.look().await?;
                    timer.as_mut().reset(self.wake_at());
                }
            }
            // What was heard puts most deadlines off, which the next look finds out; a nearer one must not wait.
            let wake_at = self.wake_at();
            if wake_at < timer.deadline() {
                timer.as_mut().reset(wake_at);
            }
        }
    }

    /// The next moment at which silence means something.
    fn wake_at(&self) -> TokioInstant {
        let mut next = self.silent_until();
        if let Some(due) = self.subscriptions.due() {
            next = next.min(due);
        }
        if self.audits() {
            next = next.min(self.subscriptions.audit_due());
        }
        if let Some(rotate_at) = self.rotate_at {
            next = next.min(rotate_at);
        }
        next = next.min(self.keepalive_at);
        if !self.settled {
            next = next.min(self.started + self.feed.stall_after);
        }
        next.into()
    }

    /// Once anything is subscribed the feed shows that it lives. Until then only our own questions are answered.
    fn silent_until(&self) -> Instant {
        if self.subscriptions.any_acknowledged() {
            self.fed_at + self.feed.stall_after
        } else if self.subscriptions.due().is_some() {
            self.started + Self::ANSWER_WITHIN
        } else {
            self.answered_at + Self::ANSWER_WITHIN
        }
    }

    /// In maintenance silence is what to expect, and an exchange that is down may refuse what it had granted.
    fn audits(&self) -> bool {
        self.feed.market != Market::Maintenance
    }

    async fn look(&mut self) -> Result<(), Ending> {
        let now = self.feed.ctx.clock().now();
        if now >= self.silent_until() {
            let fed = self.subscriptions.any_acknowledged();
            return Err(Ending::Stalled(if fed { "sends neither data nor signs of life" } else { "does not answer" }));
        }
        if self.rotate_at.is_some_and(|rotate_at| now >= rotate_at) {
            return Err(Ending::Aged);
        }
        if self.audits() {
            if self.subscriptions.is_without_prices(now) {
                return Err(Ending::Stalled("sends signs of life and no prices"));
            }
            self.audit(now).await?;
        }
        for request in self.subscriptions.requests(&self.feed.exchange, now) {
            self.connection.send(request).await?;
        }
        if now >= self.keepalive_at {
            self.keepalive_at = now + self.keepalive_every;
            let request = self.subscriptions.next_request();
            if let Some(keepalive) = self.feed.exchange.keepalive(request) {
                self.connection.send(keepalive).await?;
            }
        }
        if !self.settled && now >= self.started + self.feed.stall_after {
            self.settled = true;
            self.feed.report(true);
        }
        Ok(())
    }

    /// A pair asked for anew counts as subscribed until its answer is overdue; its rate ages meanwhile.
    async fn audit(&mut self, now: Instant) -> Result<(), Ending> {
        let audit = self.subscriptions.audit(&self.feed.exchange, now);
        for &pair in &audit.doubted {
            self.feed.book.doubt(pair);
        }
        for &pair in &audit.unanswered {
            self.feed.meter.audit("unanswered");
            self.feed.book.set_state(pair, PairState::Pending);
        }
        if !audit.unanswered.is_empty() {
            self.feed.report(self.settled);
        }
        for message in audit.messages {
            self.connection.send(message).await?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Ending> {
        let arrival = self.feed.ctx.clock().arrival();
        let Frame::Text(text) = frame else {
            self.feed.meter.frame("binary");
            return Ok(());
        };
        self.answered_at = arrival.at;
        let mut events = Vec::new();
        if let Err(error) = self.feed.decoder.decode(text, &mut events) {
            self.feed.meter.frame("malformed");
            if self.feed.complaints.allows(arrival.at) {
                let (start, error) = (cut(text), cut(&error.0));
                tracing::warn!(start, bytes = text.len(), error, "a frame cannot be read; more are only counted");
            }
        }
        for event in events {
            self.heed(event, arrival)?;
        }
        Ok(())
    }

    fn heed(&mut self, event: FeedEvent<'_>, arrival: Arrival) -> Result<(), Ending> {
        self.feed.meter.frame(kind(&event));
        match event {
            FeedEvent::Tick(tick) => {
                self.fed(arrival);
                self.tick(tick, arrival);
            }
            FeedEvent::Heartbeat => self.alive(arrival),
            FeedEvent::Alive(pair) => {
                self.fed(arrival);
                self.feed.book.alive(pair, arrival);
            }
            FeedEvent::Pong if self.rules.liveness == Liveness::Answers => self.alive(arrival),
            FeedEvent::Market(market) => self.feed.market(market),
            FeedEvent::Subscribed { symbol, .. } => {
                self.fed(arrival);
                let pair = self.subscriptions.acknowledged(&symbol);
                self.acknowledged(pair.as_slice());
            }
            FeedEvent::Accepted { request } => {
                self.fed(arrival);
                let pairs = self.subscriptions.accepted(request);
                self.acknowledged(&pairs);
            }
            FeedEvent::Held { symbols } => {
                // First: what was lost is not as it was, and must not be confirmed once more.
                for pair in self.subscriptions.held(&symbols) {
                    tracing::warn!(%pair, "the exchange has lost a subscription; asking for it again");
                    self.feed.book.set_state(pair, PairState::Pending);
                    self.feed.report(self.settled);
                }
                self.alive(arrival);
            }
            FeedEvent::Refused { request, symbol, reason, permanent } => {
                self.refused(request, symbol.as_deref().unwrap_or("(none)"), &reason, permanent);
            }
            FeedEvent::Throttled => {
                if self.feed.complaints.allows(arrival.at) {
                    tracing::warn!("the exchange says that we send too many messages; asking for the rest later");
                }
                self.subscriptions.throttled(arrival.at);
            }
            FeedEvent::Reconnect => return Err(Ending::Asked),
            FeedEvent::Pong | FeedEvent::Unused(_) => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, pairs: &[Pair]) {
        for &pair in pairs {
            self.feed.book.set_state(pair, PairState::Subscribed);
        }
        if !pairs.is_empty() {
            self.feed.refusal = None;
            self.feed.report(self.settled);
        }
    }

    fn tick(&mut self, mut tick: Tick<'_>, arrival: Arrival) {
        if self.rules.acknowledged_by_data {
            let pair = self.subscriptions.shown(tick.pair);
            self.acknowledged(pair.as_slice());
        }
        tick.snapshot |= self.rules.first_tick_is_snapshot && self.subscriptions.is_first(tick.pair);
        let held = self.feed.book.rate(tick.pair).map(|rate| rate.value);
        self.feed.book.tick(&tick, arrival);
        if self.subscriptions.heard(tick.pair, tick.snapshot, arrival.at) {
            // A snapshot that is believed confirms the rate as of its arrival.
            let rate = self.feed.book.rate(tick.pair).filter(|rate| rate.confirmed_at == arrival.at);
            self.feed.meter.audit(match rate.map(|rate| rate.value) {
                None => "refused",
                now if now == held => "same",
                Some(_) => "moved",
            });
        }
        if held.is_none() {
            self.feed.report(self.settled);
        }
    }

    /// The feed lives, and what is subscribed is as it was.
    fn alive(&mut self, arrival: Arrival) {
        self.fed(arrival);
        self.feed.book.heartbeat(arrival);
    }

    /// The feed itself has spoken.
    fn fed(&mut self, arrival: Arrival) {
        self.fed_at = arrival.at;
        self.fed_since.get_or_insert(arrival.at);
    }

    /// One pair's refusal is its own: all others go on. What is not for good is asked for again in time.
    fn refused(&mut self, request: Option<u64>, symbol: &str, reason: &str, permanent: bool) {
        let reason = cut(reason);
        if !permanent {
            tracing::debug!(symbol = cut(symbol), reason, "a subscription was refused for now; asking again later");
            self.feed.refusal = Some(reason);
            return;
        }
        if let Some(pair) = self.subscriptions.refused(symbol, request) {
            tracing::error!(%pair, symbol, reason, "a subscription was refused for good");
            self.feed.book.set_state(pair, PairState::Refused(reason));
            self.feed.report(self.settled);
        }
    }
}

/// A duration drawn at random from `range`.
fn drawn(range: &Range<Duration>) -> Duration {
    range.start + backoff::up_to(range.end.saturating_sub(range.start))
}

/// The beginning of a text that may be as long as the exchange likes.
fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

/// What an event is, as a metric label.
fn kind(event: &FeedEvent<'_>) -> &'static str {
    match event {
        FeedEvent::Tick(_) => "tick",
        FeedEvent::Heartbeat | FeedEvent::Alive(_) => "heartbeat",
        FeedEvent::Market(_) => "status",
        FeedEvent::Subscribed { .. } | FeedEvent::Accepted { .. } => "subscribed",
        FeedEvent::Held { .. } => "held",
        FeedEvent::Refused { .. } => "refused",
        FeedEvent::Throttled => "throttled",
        FeedEvent::Reconnect => "reconnect",
        FeedEvent::Pong => "pong",
        FeedEvent::Unused(what) => what,
    }
}
