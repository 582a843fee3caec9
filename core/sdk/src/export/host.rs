use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::body::Bytes;
use ratebus_abi::{self as abi, Text, event, status};
use ratebus_model::{
    Message, Outgoing, Pair, PairList, PairState, Pattern, Payload, PublishError, Rate, RequestError, SourceName,
    Subject,
};
use tokio::sync::Notify;

use super::convert::{health_code, pair_code, with_rate};
use crate::{Clock, Error, ErrorKind, HealthReport, HealthState, Host, Routes, Sessions};

/// The most subjects whose newest value waits for room.
const MOST_WAITING: usize = 16_384;

/// ratebus, as an instance of a library reaches it.
pub(super) struct LibraryHost {
    name: SourceName,
    host: &'static abi::Host,
    context: u64,
    waiting: Mutex<Waiting>,
    /// There is room again.
    room: Notify,
}

/// What did not fit: the newest value of each subject, in the order in which they first came.
#[derive(Default)]
struct Waiting {
    order: VecDeque<Subject>,
    values: HashMap<Subject, Payload>,
    told: Told,
}

/// What ratebus knows of the pairs.
#[derive(Default)]
struct Told {
    /// How their subscriptions stand.
    pairs: HashMap<Pair, PairState>,
    /// The first list, which has all of them or none, was told to its end.
    first_list: bool,
}

/// What became of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Taken,
    Full,
    Closed,
}

impl LibraryHost {
    pub(super) fn new(name: SourceName, host: &'static abi::Host, context: u64) -> Self {
        Self { name, host, context, waiting: Mutex::default(), room: Notify::new() }
    }

    pub(super) fn name(&self) -> SourceName {
        self.name
    }

    /// Sends what did not fit, and lets those go on that wait.
    pub(super) fn on_writable(&self) {
        self.flush(&mut self.waiting());
        self.room.notify_waiters();
    }

    #[expect(unsafe_code, reason = "a call of ratebus")]
    pub(super) fn tell_health(&self, state: &HealthState) {
        let reason = Text::new(state.reason().unwrap_or_default());
        // SAFETY: the text lives until it returns.
        unsafe { (self.host.health)(self.context, health_code(state), reason) };
    }

    #[expect(unsafe_code, reason = "a call of ratebus")]
    pub(super) fn log(&self, level: u32, line: &str) {
        // SAFETY: the text lives until it returns.
        unsafe { (self.host.log)(self.context, level, Text::new(line)) };
    }

    #[expect(unsafe_code, reason = "a call of ratebus")]
    pub(super) fn stopped(&self, how: u32, why: &str, after: Duration) {
        let after_ms = u32::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        // SAFETY: the text lives until it returns.
        unsafe { (self.host.stopped)(self.context, how, Text::new(why), after_ms) };
    }

    #[expect(unsafe_code, reason = "a call of ratebus")]
    pub(super) fn count(&self, name: &str, number: u64) {
        // SAFETY: the text lives until it returns.
        unsafe { (self.host.count)(self.context, Text::new(name), number) };
    }

    #[expect(unsafe_code, reason = "a call of ratebus")]
    pub(super) fn gauge(&self, name: &str, value: i64) {
        // SAFETY: the text lives until it returns.
        unsafe { (self.host.gauge)(self.context, Text::new(name), value) };
    }

    /// Sends what waits, then `payload`, if it fits.
    fn send(&self, waiting: &mut Waiting, payload: &Payload) -> Sent {
        match self.flush(waiting) {
            Sent::Taken => self.offer(payload, &mut waiting.told),
            other => other,
        }
    }

    fn flush(&self, waiting: &mut Waiting) -> Sent {
        while let Some(subject) = waiting.order.front() {
            let offer = |payload| self.offer(payload, &mut waiting.told);
            let sent = waiting.values.get(subject).map_or(Sent::Taken, offer);
            if sent == Sent::Full {
                return sent;
            }
            waiting.values.remove(subject);
            waiting.order.pop_front();
        }
        Sent::Taken
    }

    fn offer(&self, payload: &Payload, told: &mut Told) -> Sent {
        match payload {
            // Of other sources nothing is ours to say.
            Payload::Rate(rate) if rate.source == self.name => self.offer_rate(rate),
            Payload::Pairs(list) => self.offer_pairs(list, told),
            _ => Sent::Taken,
        }
    }

    fn offer_rate(&self, rate: &Rate) -> Sent {
        with_rate(rate, Clock.now(), |rate| self.publish(&[abi::Event { rate, ..event(event::RATE) }]).0)
    }

    /// What is new in a list: it may be longer than there ever is room for.
    fn offer_pairs(&self, list: &PairList, told: &mut Told) -> Sent {
        let news = list.pairs.iter().filter(|(pair, state)| told.pairs.get(pair) != Some(state));
        let news: Vec<_> = news.map(|(pair, state)| (pair, state, pair.to_string())).collect();
        let events = news.iter().map(|(_, pair_state, text)| {
            let (state, reason) = pair_code(pair_state);
            abi::Event { state, pair: Text::new(text), reason: Text::new(reason), ..event(event::PAIR) }
        });
        // A source that begins with an empty list finds out as it goes.
        let is_first = !told.first_list && !list.pairs.is_empty();
        let end = is_first.then(|| event(event::ALL_PAIRS));
        let (sent, accepted) = self.publish(&events.chain(end).collect::<Vec<_>>());
        told.first_list |= sent == Sent::Taken;
        let accepted = news.iter().take(accepted);
        told.pairs.extend(accepted.map(|(pair, state, _)| (**pair, (*state).clone())));
        sent
    }

    /// What became of the events, and how many were taken.
    #[expect(unsafe_code, reason = "a call of ratebus")]
    fn publish(&self, events: &[abi::Event]) -> (Sent, usize) {
        let mut accepted = 0;
        // SAFETY: the events and what they point to live until it returns.
        let status = unsafe { (self.host.publish)(self.context, events.as_ptr(), events.len(), &raw mut accepted) };
        let sent = match status {
            status::FULL => Sent::Full,
            status::CLOSED => Sent::Closed,
            // What is not understood is no better the second time.
            _ => Sent::Taken,
        };
        (sent, accepted.min(events.len()))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(kind: u32) -> abi::Event {
    abi::Event {
        size: abi::size_of::<abi::Event>(),
        kind,
        rate: ptr::null(),
        pair: Text::EMPTY,
        reason: Text::EMPTY,
        state: 0,
        reserved: 0,
    }
}

#[async_trait]
impl Host for LibraryHost {
    /// What does not fit waits, the newest of each subject.
    fn try_publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        let Outgoing { subject, payload, .. } = message;
        let mut waiting = self.waiting();
        // Behind an older value of its own it would be sent twice.
        if let Some(older) = waiting.values.get_mut(&subject) {
            *older = payload;
            self.flush(&mut waiting);
            return Ok(1);
        }
        match self.send(&mut waiting, &payload) {
            Sent::Taken => Ok(1),
            Sent::Closed => Err(PublishError::Closed),
            Sent::Full if waiting.order.len() < MOST_WAITING => {
                waiting.order.push_back(subject.clone());
                waiting.values.insert(subject, payload);
                Ok(1)
            }
            Sent::Full => Err(PublishError::Full { subscription: "ratebus".into(), delivered: 0 }),
        }
    }

    async fn publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        loop {
            // Made before the try, so that room which comes in between is not missed.
            let room = self.room.notified();
            match self.send(&mut self.waiting(), &message.payload) {
                Sent::Taken => return Ok(1),
                Sent::Closed => return Err(PublishError::Closed),
                Sent::Full => {}
            }
            room.await;
        }
    }

    async fn request(&self, _: Outgoing, _: Duration) -> Result<Arc<Message>, RequestError> {
        Err(RequestError::NoResponders)
    }

    fn last_value(&self, _: &Subject) -> Option<Arc<Message>> {
        None
    }

    fn last_values(&self, _: &Pattern) -> Vec<Arc<Message>> {
        Vec::new()
    }

    fn own_subjects(&self, _: &Pattern) -> Vec<Subject> {
        Vec::new()
    }

    fn mount(&self, listener: &str, _: Routes) -> Result<SocketAddr, Error> {
        Err(Error::new(ErrorKind::Config, format!("a library has no routes: {listener:?} is not for it")))
    }

    fn offer_sessions(&self, _: Arc<dyn Sessions>) {}

    fn sessions(&self) -> Option<Arc<dyn Sessions>> {
        None
    }

    fn api(&self, _: &str) -> Bytes {
        Bytes::new()
    }

    fn health_report(&self) -> Vec<HealthReport> {
        Vec::new()
    }
}
