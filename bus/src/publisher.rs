use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ratebus_model::{Epoch, Message, Outgoing, PublishError, RequestError, Timestamp, Version};
use tokio::time::timeout;

use crate::{
    bus::Hub,
    effects::Effects,
    line::InLine,
    targets::{Published, WhenFull},
};

/// The message as it goes out now.
pub(crate) fn stamp(outgoing: Outgoing, version: Version) -> Message {
    let Outgoing { subject, reply, headers, payload } = outgoing;
    Message { subject, reply, headers, payload, version, published_at: Timestamp::from(SystemTime::now()) }
}

/// One run of a publisher.
#[derive(Debug)]
pub(crate) struct Run {
    name: Arc<str>,
    pub(crate) epoch: Epoch,
    /// The highest sequence of all subjects that the bus has forgotten.
    forgotten: AtomicU64,
}

impl Run {
    pub(crate) fn new(name: Arc<str>, epoch: Epoch) -> Self {
        Self { name, epoch, forgotten: AtomicU64::new(0) }
    }

    pub(crate) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    pub(crate) fn forget(&self, sequence: u64) {
        self.forgotten.fetch_max(sequence, Ordering::Relaxed);
    }
}

/// The publishing end of the bus: one for each run of a plugin. Clones are cheap and are the same publisher.
///
/// Its messages carry its epoch and, per subject, a sequence that counts up from 1 (from higher where the bus has
/// forgotten subjects, never back; always 1 under `_INBOX.`, where each subject is used once). What it publishes under one subject reaches every subscription in that order.
#[derive(Debug, Clone)]
pub struct Publisher {
    hub: Arc<Hub>,
    run: Arc<Run>,
}

impl Publisher {
    pub(crate) fn new(hub: Arc<Hub>, run: Run) -> Self {
        Self { hub, run: Arc::new(run) }
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.run.name
    }

    /// The epoch of its messages.
    pub fn epoch(&self) -> Epoch {
        self.run.epoch
    }

    /// Delivers to every subscription that wants the subject and returns how many readers that were. Never waits: a full
    /// [`Policy::Block`](crate::Policy::Block) subscription goes without, which is the error; all others have the
    /// message.
    pub fn try_publish(&self, outgoing: Outgoing) -> Result<usize, PublishError> {
        self.hub.publish(&self.run, outgoing, WhenFull::GoOn).and_then(result)
    }

    /// Delivers to every subscription that wants the subject and returns how many there were. All with room have the
    /// message at once; then it waits, as long as they allow, for full [`Policy::Block`](crate::Policy::Block)
    /// subscriptions. One that has no room by then goes without, which is the error.
    ///
    /// Dropping the call takes the message back from those it waits for.
    pub async fn publish(&self, outgoing: Outgoing) -> Result<usize, PublishError> {
        let mut published = self.hub.publish(&self.run, outgoing, WhenFull::Wait)?;
        let mut effects = Effects::default();
        let mut waiting = mem::take(&mut published.waiting);
        // One after the other, and still none longer than it may.
        waiting.sort_by_key(InLine::deadline);
        for place in waiting {
            let name = place.name();
            published.add(&name, place.wait(&mut effects).await);
            effects.settle(&self.hub.this);
        }
        result(published)
    }

    /// Publishes and waits for one answer. Nobody listening, here or [elsewhere](crate::Elsewhere), is an error at once.
    pub async fn request(&self, mut outgoing: Outgoing, limit: Duration) -> Result<Arc<Message>, RequestError> {
        let mut expected = self.hub.replies.expect();
        outgoing.reply = Some(expected.subject.clone());
        let subject = outgoing.subject.clone();
        let answer = async {
            let published = self.publish(outgoing).await;
            let nobody_elsewhere = || !self.hub.is_heard_elsewhere(&subject);
            match published {
                Err(PublishError::Closed) => Err(RequestError::Closed),
                Ok(0) if nobody_elsewhere() => Err(RequestError::NoResponders),
                Err(PublishError::Full { delivered: 0, .. }) if nobody_elsewhere() => Err(RequestError::TimedOut),
                Ok(_) | Err(PublishError::Full { .. }) => expected.answer().await.ok_or(RequestError::Closed),
            }
        };
        timeout(limit, answer).await.unwrap_or(Err(RequestError::TimedOut))
    }
}

pub(crate) fn result(published: Published) -> Result<usize, PublishError> {
    match published.full {
        None => Ok(published.delivered),
        Some(subscription) => Err(PublishError::Full { subscription, delivered: published.delivered }),
    }
}
