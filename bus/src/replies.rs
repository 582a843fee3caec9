use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex},
};

use foldhash::fast::RandomState;
use ratebus_model::{Message, Subject};
use tokio::sync::oneshot;

use crate::{lock, random};

/// The answers that requests wait for. A reply subject is used once, so it is neither a subscription (requests would
/// make the bus look up every subject anew) nor remembered as a subject.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    expected: Mutex<HashMap<Subject, oneshot::Sender<Arc<Message>>, RandomState>>,
}

/// An answer to come. Dropping it gives the reply subject up.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) subject: Subject,
    answer: oneshot::Receiver<Arc<Message>>,
    replies: &'a Replies,
}

impl Replies {
    pub(crate) fn expect(&self) -> Expected<'_> {
        let subject = Subject::reply(u128::from(random()) << 64 | u128::from(random()));
        let (sender, answer) = oneshot::channel();
        lock(&self.expected).insert(subject.clone(), sender);
        Expected { subject, answer, replies: self }
    }

    /// Hands an answer to its request. Whether one waited for it.
    pub(crate) fn deliver(&self, message: &Arc<Message>) -> bool {
        let request = lock(&self.expected).remove(&message.subject);
        request.is_some_and(|request| request.send(message.clone()).is_ok())
    }

    /// Ends all requests without an answer.
    pub(crate) fn clear(&self) {
        let ended = mem::take(&mut *lock(&self.expected));
        drop(ended);
    }
}

impl Expected<'_> {
    /// The answer; `None` if the bus was closed.
    pub(crate) async fn answer(&mut self) -> Option<Arc<Message>> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        lock(&self.replies.expected).remove(&self.subject);
    }
}
