use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use metrics::counter;
use ratebus_bus::Bus;
use ratebus_model::{Message, Pattern, Policy, Subject};
use ratebus_sdk::{Backoff, Clock, Error, ErrorKind, Health, Inbox, Interest, LogLimit};
use tokio::{
    select,
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Connection, Intake, Outlet, Parcel},
    letter::{LATE, Letter},
    seal::Keys,
    table::{self, Table},
    target::Target,
};

/// How long the broker may take for anything.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one.
const PROVED: Duration = Duration::from_secs(10);
/// How often it is looked at what must be said again.
const TICK: Duration = Duration::from_millis(250);
/// How many messages go out together at most.
const BATCH: usize = 256;
/// How long the broker keeps what is said for those who join later, and how old that may be when they read it.
const KEEP: Duration = Duration::from_mins(5);
/// How many messages that each count wait to be sent, of each pattern.
const QUEUE: usize = 4096;
/// Subjects under which each process says how it is itself: the newest is enough, and nobody else could say it.
const OWN_STATES: [&str; 1] = ["health."];
/// How many goodbyes wait to be sent; more are not: whoever misses one hears the next.
const GOODBYES: usize = 1024;

/// Joins a process's bus to a broker: what is published under the exported subjects goes out, what others send under the
/// imported ones comes in.
///
/// A publisher never waits for the broker. While it is away, the newest value of each subject is kept, and that is what
/// goes out afterwards. What comes in is checked (signature, age, subject, order) before anybody sees it.
pub struct Link {
    bus: Bus,
    broker: Arc<dyn Broker>,
    keys: Keys,
    imports: Vec<Pattern>,
    health: Health,
    state: Mutex<State>,
    /// There are goodbyes to be sent.
    goodbyes: Notify,
}

#[derive(Default)]
struct State {
    table: Table,
    goodbyes: Vec<(Subject, Letter)>,
    log: LogLimit,
}

impl Link {
    /// Joins `bus` to a broker. Nothing happens until [`Link::run`].
    pub fn new(bus: Bus, target: Target, keys: Keys, mut imports: Vec<Pattern>, health: Health) -> Self {
        imports.push(Pattern::replies());
        Self { bus, broker: target.0, keys, imports, health, state: Mutex::default(), goodbyes: Notify::new() }
    }

    /// What [`Link::run`] must be told of so that what is published under these patterns goes out, and answers to requests
    /// from elsewhere too. Of what says how something is the newest is enough; of anything else the oldest goes when too
    /// much waits.
    pub fn exports(patterns: Vec<Pattern>) -> Vec<Interest> {
        let interest = |pattern: Pattern| {
            let latest = Interest::latest(pattern);
            let is_state = |prefix: &&str| latest.pattern.as_str().starts_with(*prefix);
            if table::STATES.iter().chain(&OWN_STATES).any(is_state) {
                latest
            } else {
                Interest { policy: Policy::DropOldest, capacity: QUEUE, ..latest }
            }
        };
        patterns.into_iter().chain([Pattern::replies()]).map(interest).collect()
    }

    /// Runs until `cancel`, and then says goodbye. `exports` brings what [`Link::exports`] asks for.
    pub async fn run(self, mut exports: Inbox, cancel: CancellationToken) {
        let mut backoff = Backoff::up_to(PAUSE);
        loop {
            let started = Clock.now();
            let error = match self.session(&mut exports, &cancel).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if started.elapsed() > PROVED {
                backoff.succeeded();
            }
            counter!("ratebus_link_failures_total", "kind" => error.kind().as_str()).increment(1);
            self.health.degraded(format!("the broker is away: {error}"));
            select! {
                () = sleep(backoff.next_delay()) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// One connection, until it fails or `cancel`.
    async fn session(&self, exports: &mut Inbox, cancel: &CancellationToken) -> Result<(), Error> {
        let connected = select! {
            connected = timeout(CONNECT, self.broker.connect(&self.imports)) => connected,
            () = cancel.cancelled() => return Ok(()),
        };
        let no_answer = |_| Error::new(ErrorKind::Stalled, "no answer in time");
        let Connection { mut outlet, mut intake, kept } = connected.map_err(no_answer)??;
        for (subject, text) in kept {
            self.take(&subject, &text, true);
        }
        self.health.ready();
        select! {
            ended = self.send(outlet.as_mut(), exports, cancel) => ended,
            Err(error) = self.receive(intake.as_mut()) => Err(error),
        }
    }

    async fn receive(&self, intake: &mut dyn Intake) -> Result<Infallible, Error> {
        loop {
            let (subject, text) = intake.next().await?;
            self.take(&subject, &text, false);
        }
    }

    /// Something came, or was kept by the broker.
    fn take(&self, subject: &Subject, text: &Bytes, kept: bool) {
        if !self.imports.iter().any(|pattern| pattern.matches(subject)) {
            return;
        }
        let now = Clock.arrival();
        let late = if kept { KEEP } else { LATE };
        let opened = Letter::open(subject, text, &self.keys, now, late);
        let mut state = self.lock();
        let outcome = match opened {
            Ok(opened) => state.table.hear(subject, opened, kept, now),
            Err(reason) => {
                counter!("ratebus_link_refused_total", "reason" => reason.as_str()).increment(1);
                if state.log.allows(now.at) {
                    tracing::warn!(%subject, reason = reason.as_str(), "a message from the broker is refused");
                }
                return;
            }
        };
        if let Some(goodbye) = outcome.goodbye
            && state.goodbyes.len() < GOODBYES
        {
            state.goodbyes.push((subject.clone(), goodbye));
            self.goodbyes.notify_one();
        }
        drop(state);
        if let Some(reason) = outcome.dropped {
            counter!("ratebus_link_dropped_total", "reason" => reason).increment(1);
        }
        if let Some(message) = outcome.message {
            counter!("ratebus_link_received_total").increment(1);
            if let Err(error) = self.bus.import(message) {
                tracing::debug!(%subject, %error, "not delivered to everybody");
            }
        }
    }

    async fn send(
        &self,
        outlet: &mut dyn Outlet,
        exports: &mut Inbox,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut letters = Vec::new();
            select! {
                message = exports.recv() => match message {
                    Some(message) => letters.extend(self.letter(&message)),
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    // First what is new: nothing is said again that is out of date.
                    while let Some(message) = next_now(exports).await {
                        letters.extend(self.letter(&message));
                    }
                    letters.extend(self.lock().table.repeat(Clock.arrival()));
                }
                () = self.goodbyes.notified() => {}
                () = cancel.cancelled() => {
                    letters = self.lock().table.leave(Clock.arrival());
                    return self.hand_over(outlet, letters).await;
                }
            }
            while letters.len() < BATCH
                && let Some(message) = next_now(exports).await
            {
                letters.extend(self.letter(&message));
            }
            letters.append(&mut self.lock().goodbyes);
            self.hand_over(outlet, letters).await?;
        }
    }

    fn letter(&self, message: &Arc<Message>) -> Option<(Subject, Letter)> {
        let letter = self.lock().table.say(message, Clock.arrival())?;
        Some((message.subject.clone(), letter))
    }

    async fn hand_over(&self, outlet: &mut dyn Outlet, letters: Vec<(Subject, Letter)>) -> Result<(), Error> {
        let parcel = |(subject, letter): (Subject, Letter)| match letter.seal(&subject, &self.keys) {
            Ok(text) => {
                let keep = (letter.is_kept() && table::is_state(&subject)).then_some(KEEP);
                Some(Parcel { subject, text, keep })
            }
            Err(error) => {
                tracing::error!(%subject, %error, "a message cannot be written as JSON");
                None
            }
        };
        let parcels: Vec<Parcel> = letters.into_iter().filter_map(parcel).collect();
        if parcels.is_empty() {
            return Ok(());
        }
        counter!("ratebus_link_sent_total").increment(parcels.len() as u64);
        let sent = timeout(DEADLINE, outlet.send(parcels)).await;
        sent.map_err(|_| Error::new(ErrorKind::Stalled, "it takes nothing"))?
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next message if there is one now.
async fn next_now(inbox: &mut Inbox) -> Option<Arc<Message>> {
    poll_fn(|cx| match inbox.poll_recv(cx) {
        Poll::Ready(message) => Poll::Ready(message),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
