//! The processes that work together: each says about once a second how it is, on `health.<instance>`, and hears the others.

mod roster;
mod word;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ratebus_bus::{Bus, Publisher};
use ratebus_model::{Message, Outgoing, Pattern, Payload, Subject, Timestamp};
use ratebus_sdk::{Clock, Inbox, Interest};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{health::Readiness, host::inbox};
use roster::Roster;
use word::Word;

/// How often a process says how it is.
const EVERY: Duration = Duration::from_secs(1);

/// Who was heard, for those who ask.
#[derive(Clone, Default)]
pub(crate) struct Instances(Arc<Mutex<Roster>>);

impl Instances {
    /// Every process that was heard lately, this one too, as JSON.
    pub(crate) fn shown(&self) -> Vec<Value> {
        self.with(|roster| roster.shown(Clock.now()))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Roster) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// This process among the others.
pub(crate) struct Presence {
    readiness: Readiness,
    instances: Instances,
    publisher: Publisher,
    subject: Subject,
    /// What was said last.
    word: Word,
}

impl Presence {
    /// The process `id`, which plays a role.
    pub(crate) fn new(id: Uuid, role: &str, bus: &Bus, readiness: Readiness, instances: Instances) -> Self {
        let publisher = bus.publisher("health");
        let word = Word::first(id, role, Clock.wall());
        Self { readiness, instances, publisher, subject: Subject::health(id.as_u128()), word }
    }

    /// What [`Presence::run`] must hear.
    pub(crate) fn inbox(bus: &Bus) -> Inbox {
        inbox(bus, "instances", vec![Interest::latest(Pattern::health())])
    }

    /// Says how the process is and hears the others until `cancel`, which is said too.
    pub(crate) async fn run(mut self, mut inbox: Inbox, cancel: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.say(Clock.wall());
                    self.instances.with(|roster| roster.count(Clock.now()));
                }
                message = inbox.recv() => match message {
                    Some(message) => self.hear(&message),
                    None => return,
                },
                () = cancel.cancelled() => return self.say(Clock.wall()),
            }
        }
    }

    fn say(&mut self, now: Timestamp) {
        let (state, report) = self.readiness.verdict();
        self.word.update(state, &report, now);
        let said = serde_json::to_vec(&self.word).map(|text| {
            let message = Outgoing::new(self.subject.clone(), Payload::Bytes(text.into()));
            self.publisher.try_publish(message)
        });
        if let Err(error) = said {
            tracing::error!(%error, "how the process is cannot be written as JSON");
        }
    }

    fn hear(&self, message: &Message) {
        let Payload::Bytes(text) = &message.payload else { return };
        self.instances.with(|roster| roster.hear(&message.subject, text, Clock.now()));
    }
}
