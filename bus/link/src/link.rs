use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use metrics::counter;
use ratebus_bus::Bus;
use ratebus_model::{Arrival, Message, Pattern, Subject};
use ratebus_sdk::{Backoff, Clock, Error, ErrorKind, Health, LogLimit};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Connection, Intake, Keep, Outlet, Parcel},
    letter::{LATE, Letter, Opened},
    outbound::Outbound,
    peers::{self, Member, Peers},
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
/// How long at the end it is waited for what others have said just before: the bus hands it over in a task of its own.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How many messages go out together at most.
const BATCH: usize = 256;
/// How long the broker keeps what is said for those who join later, and how old that may be when they read it.
const KEEP: Duration = Duration::from_mins(5);
/// How many goodbyes wait to be sent; more are not: whoever misses one hears the next.
const GOODBYES: usize = 1024;

/// Joins a process's bus to a broker: what is published under the exported subjects goes out, what others send under the
/// imported ones comes in.
///
/// A publisher never waits for the broker. While it is away, the newest value of each subject is kept, and that is what
/// goes out afterwards. What comes in is checked (signature, age, subject, order) before anybody sees it.
pub struct Link {
    shared: Shared,
    outbound: Outbound,
}

/// What both directions use.
struct Shared {
    bus: Bus,
    broker: Arc<dyn Broker>,
    keys: Keys,
    /// What the broker is asked for.
    patterns: Vec<Pattern>,
    peers: Arc<Peers>,
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
    /// Joins `bus` to a broker: what is published under `exports` is to go out, what others send under `imports` is to come
    /// in, and requests are answered both ways. Nothing goes or comes until [`Link::run`].
    pub fn new(
        bus: Bus,
        target: Target,
        keys: Keys,
        exports: Vec<Pattern>,
        imports: Vec<Pattern>,
        health: Health,
    ) -> Self {
        let name = bus.publisher("bus").epoch();
        let peers = Arc::new(Peers::new(name, exports.clone(), imports.clone()));
        bus.join(peers.clone());
        let outbound = Outbound::new(bus.clone(), exports.into_iter().chain([Pattern::replies()]));
        let patterns = imports.into_iter().chain([Pattern::replies()]).chain(peers.patterns()).collect();
        let (state, goodbyes) = (Mutex::default(), Notify::new());
        let shared = Shared { bus, broker: target.0, keys, patterns, peers, health, state, goodbyes };
        Self { shared, outbound }
    }

    /// Runs until `cancel`, and then says goodbye.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { shared, mut outbound } = self;
        let mut backoff = Backoff::up_to(PAUSE);
        loop {
            let started = Clock.now();
            let ended = shared.session(&mut outbound, &cancel).await;
            shared.peers.disconnected();
            outbound.serve(Vec::new());
            let Err(error) = ended else { return };
            if started.elapsed() > PROVED {
                backoff.succeeded();
            }
            counter!("ratebus_link_failures_total", "kind" => error.kind().as_str()).increment(1);
            shared.health.degraded(format!("the broker is away: {error}"));
            select! {
                () = sleep(backoff.next_delay()) => {}
                () = cancel.cancelled() => return,
            }
        }
    }
}

impl Shared {
    /// One connection, until it fails or `cancel`.
    async fn session(&self, outbound: &mut Outbound, cancel: &CancellationToken) -> Result<(), Error> {
        let connected = select! {
            connected = timeout(CONNECT, self.broker.connect(&self.patterns)) => connected,
            () = cancel.cancelled() => return Ok(()),
        };
        let no_answer = |_| Error::new(ErrorKind::Stalled, "no answer in time");
        let Connection { mut outlet, mut intake, kept } = connected.map_err(no_answer)??;
        // Nothing else is kept, whoever put it there.
        for (subject, text) in kept.into_iter().filter(|(subject, _)| table::is_state(subject)) {
            self.take(&subject, &text, true);
        }
        self.peers.connected(Clock.now());
        self.health.ready();
        select! {
            ended = self.send(outlet.as_mut(), outbound, cancel) => ended,
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
        if !self.patterns.iter().any(|pattern| pattern.matches(subject)) {
            return;
        }
        let now = Clock.arrival();
        let late = if kept { KEEP } else { LATE };
        let taken = match Letter::open(subject, text, &self.keys, now, late) {
            Ok(opened) if peers::is_announcement(subject) => self.peers.hear(&opened, now.at),
            Ok(opened) if peers::is_mailbox(subject) => self.take_mail(subject, opened, now),
            Ok(opened) => self.take_message(subject, opened, kept, now),
            Err(reason) => {
                counter!("ratebus_link_refused_total", "reason" => reason.as_str()).increment(1);
                if self.lock().log.allows(now.at) {
                    tracing::warn!(%subject, reason = reason.as_str(), "a message from the broker is refused");
                }
                return;
            }
        };
        if let Err(reason) = taken {
            counter!("ratebus_link_dropped_total", "reason" => reason).increment(1);
        }
    }

    fn take_message(&self, subject: &Subject, opened: Opened, kept: bool, now: Arrival) -> Result<(), &'static str> {
        let mut state = self.lock();
        let outcome = state.table.hear(subject, opened, kept, now);
        if let Some(goodbye) = outcome.goodbye
            && state.goodbyes.len() < GOODBYES
        {
            state.goodbyes.push((subject.clone(), goodbye));
            self.goodbyes.notify_one();
        }
        drop(state);
        if let Some(message) = outcome.message {
            counter!("ratebus_link_received_total").increment(1);
            // Of what this process has just begun to say itself, the table may not know yet.
            let imported =
                if table::is_state(subject) { self.bus.import_state(message) } else { self.bus.import(message) };
            if let Err(error) = imported {
                tracing::debug!(%subject, %error, "not delivered to everybody");
            }
        }
        outcome.dropped.map_or(Ok(()), Err)
    }

    /// Something came for a member of a queue group of this process.
    fn take_mail(&self, subject: &Subject, opened: Opened, now: Arrival) -> Result<(), &'static str> {
        if !self.peers.is_mine(subject) {
            return Ok(());
        }
        self.peers.advance(opened.word.version, now.at)?;
        let (Some(message), Some(group)) = (opened.message, opened.group) else { return Ok(()) };
        if !self.peers.imports(&message.subject) {
            return Err("not_imported");
        }
        counter!("ratebus_link_received_total").increment(1);
        self.lock().table.expect_answer(&message);
        match self.bus.import_to(&group, message) {
            // The last one has just left, or has no room.
            Ok(0) | Err(_) => Err("no_member"),
            Ok(_) => Ok(()),
        }
    }

    async fn send(
        &self,
        outlet: &mut dyn Outlet,
        outbound: &mut Outbound,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut letters = Vec::new();
            select! {
                next = outbound.recv() => match next {
                    Some(next) => letters.extend(self.letter(next)),
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    // First what is new: nothing is said again that is out of date.
                    while let Some(next) = outbound.next_now().await {
                        letters.extend(self.letter(next));
                    }
                    letters.extend(self.upkeep(Clock.arrival()));
                }
                () = self.goodbyes.notified() => {}
                () = self.peers.changed.notified() => outbound.serve(self.peers.members()),
                () = cancel.cancelled() => {
                    let until = Instant::now() + LAST_WORDS;
                    while let Ok(Some(next)) = timeout_at(until, outbound.recv()).await {
                        letters.extend(self.letter(next));
                    }
                    let now = Clock.arrival();
                    letters.extend(self.lock().table.leave(now));
                    letters.extend(self.peers.leave(now));
                    return self.hand_over(outlet, letters).await;
                }
            }
            while letters.len() < BATCH
                && let Some(next) = outbound.next_now().await
            {
                letters.extend(self.letter(next));
            }
            letters.append(&mut self.lock().goodbyes);
            self.hand_over(outlet, letters).await?;
        }
    }

    /// What is to be said again; what is too old is forgotten.
    fn upkeep(&self, now: Arrival) -> Vec<(Subject, Letter)> {
        self.peers.sweep(now.at);
        let table = &mut self.lock().table;
        table.sweep(now.at);
        let mut letters = table.retire(|subject| self.bus.is_published_here(subject), now);
        letters.extend(table.repeat(now));
        letters.extend(self.peers.announce(&self.bus, now));
        letters
    }

    fn letter(&self, (member, message): (Option<Member>, Arc<Message>)) -> Option<(Subject, Letter)> {
        let now = Clock.arrival();
        let table = &mut self.lock().table;
        match member {
            // Nobody else speaks in the name of this process, even if everything goes out.
            None if peers::is_reserved(&message.subject) => None,
            None => Some((message.subject.clone(), table.say(&message, now)?)),
            Some(member) if table.speaks(&message.subject) => self.peers.mail(&member, &message, now),
            Some(_) => None,
        }
    }

    async fn hand_over(&self, outlet: &mut dyn Outlet, letters: Vec<(Subject, Letter)>) -> Result<(), Error> {
        let parcel = |(subject, letter): (Subject, Letter)| match letter.seal(&subject, &self.keys) {
            Ok(text) => {
                let keep = if table::is_state(&subject) { letter.keep(KEEP) } else { Keep::AsItIs };
                Some(Parcel { subject, text, keep })
            }
            Err(error) => {
                tracing::error!(%subject, %error, "a message cannot be written as JSON");
                None
            }
        };
        let mut parcels = letters.into_iter().filter_map(parcel).peekable();
        // In parts: how long the broker may take does not depend on how many pairs there are.
        while parcels.peek().is_some() {
            let batch: Vec<Parcel> = parcels.by_ref().take(BATCH).collect();
            counter!("ratebus_link_sent_total").increment(batch.len() as u64);
            let sent = timeout(DEADLINE, outlet.send(batch)).await;
            sent.map_err(|_| Error::new(ErrorKind::Stalled, "it takes nothing"))??;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use ratebus_bus::{BusConfig, Subscribe};
    use ratebus_model::{Epoch, Outgoing, Version};

    use super::*;
    use crate::floor::Word;

    /// A broker's connection that takes a millisecond for each message.
    #[derive(Default)]
    struct Slow(usize);

    #[async_trait]
    impl Outlet for Slow {
        async fn send(&mut self, parcels: Vec<Parcel>) -> Result<(), Error> {
            sleep(Duration::from_millis(parcels.len() as u64)).await;
            self.0 += parcels.len();
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_pairs_there_are_the_broker_has_its_time_for_each_part() {
        let bus = Bus::new(BusConfig::default());
        let target = Target::redis("redis://127.0.0.1:1", None).unwrap();
        let Link { shared, .. } =
            Link::new(bus.clone(), target, Keys::default(), Vec::new(), Vec::new(), Health::new("bus"));
        let subject: Subject = "events.x".parse().unwrap();
        let mut reader = bus.subscribe(Subscribe::new("test", subject.clone()));
        bus.publisher("test").try_publish(Outgoing::new(subject.clone(), Bytes::new())).unwrap();
        let message = reader.recv().await.unwrap();
        let word = |sequence| Word { version: Version { epoch: Epoch::new(1), sequence }, follows: None };
        let letters = (0..5000).map(|number| (subject.clone(), Letter::new(word(number), &message, Clock.arrival())));
        let mut outlet = Slow::default();
        shared.hand_over(&mut outlet, letters.collect()).await.unwrap();
        assert_eq!(outlet.0, 5000);
    }
}
