use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::Arc,
};

use foldhash::fast::RandomState;
use ratebus_model::Message;

/// Messages that wait for their reader, oldest first.
#[derive(Debug)]
pub(crate) enum Queue {
    Fifo(VecDeque<Arc<Message>>),
    /// At most one message per subject.
    Newest(Newest),
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fifo(messages) => messages.len(),
            Self::Newest(newest) => newest.messages.len(),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Message>> {
        match self {
            Self::Fifo(messages) => messages.pop_front(),
            Self::Newest(newest) => newest.pop(),
        }
    }

    /// Moves the oldest `count` messages to the end of `into`.
    pub(crate) fn take(&mut self, count: usize, into: &mut Vec<Arc<Message>>) {
        match self {
            Self::Fifo(messages) => into.extend(messages.drain(..count)),
            Self::Newest(newest) if count == newest.messages.len() => newest.take_all(into),
            Self::Newest(newest) => into.extend((0..count).map_while(|_| newest.pop())),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Fifo(messages) => *messages = VecDeque::new(),
            Self::Newest(newest) => *newest = Newest::default(),
        }
    }
}

/// The newest message of each subject, in the order in which the subjects came up.
///
/// The index goes by a keyed 64-bit hash of the subject; should two subjects ever share one, they are just not conflated.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    messages: VecDeque<(u64, Arc<Message>)>,
    /// Where a subject's message is: its number since the beginning.
    index: HashMap<u64, u64, RandomState>,
    /// The number of the message in front.
    front: u64,
}

impl Newest {
    /// Puts `message` in the place of an unread one of its subject, or at the end. Whether it replaced one.
    pub(crate) fn put(&mut self, message: Arc<Message>) -> bool {
        let key = self.index.hasher().hash_one(message.subject.as_str());
        let number = self.front + self.messages.len() as u64;
        let at = *self.index.entry(key).or_insert(number);
        let pending = usize::try_from(at - self.front).ok().and_then(|at| self.messages.get_mut(at));
        match pending {
            Some((_, pending)) if pending.subject == message.subject => {
                *pending = message;
                true
            }
            _ => {
                self.messages.push_back((key, message));
                false
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Message>> {
        let (key, message) = self.messages.pop_front()?;
        if self.index.get(&key) == Some(&self.front) {
            self.index.remove(&key);
        }
        self.front += 1;
        Some(message)
    }

    fn take_all(&mut self, into: &mut Vec<Arc<Message>>) {
        self.front += self.messages.len() as u64;
        self.index.clear();
        into.extend(self.messages.drain(..).map(|(_, message)| message));
    }
}
