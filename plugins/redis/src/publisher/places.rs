use std::time::Duration;

use ratebus_model::Arrival;
use redis::Pipeline;

use super::board::Due;
use crate::template::Template;

/// Where a document goes.
pub(super) struct Places {
    pub(super) channel: Template,
    pub(super) hash: Option<Template>,
    pub(super) key: Option<Key>,
}

/// A key that expires.
pub(super) struct Key {
    pub(super) name: Template,
    pub(super) ttl: Duration,
}

impl Places {
    /// Adds the commands that put a value in its places, or take one whose pair has ended out of them, the channel last:
    /// whoever subscribes and then reads misses nothing.
    pub(super) fn put(&self, due: &Due, now: Arrival, pipeline: &mut Pipeline) -> serde_json::Result<()> {
        let document = due.value.document(due.status(now.at), now)?;
        let (pair, source, kind) = due.value.labels();
        let name = |template: &Template| template.fill(pair, source, kind);
        if let Some(hash) = &self.hash {
            if due.ended {
                pipeline.hdel(name(hash), pair.to_string());
            } else {
                pipeline.hset(name(hash), pair.to_string(), &document);
            }
        }
        if let Some(Key { name: key, ttl }) = &self.key {
            if due.ended {
                pipeline.del(name(key));
            } else {
                pipeline.pset_ex(name(key), &document, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            }
        }
        pipeline.publish(name(&self.channel), document);
        Ok(())
    }

    /// How many commands [`Places::put`] adds; the last one is the channel's.
    pub(super) fn commands(&self) -> usize {
        1 + usize::from(self.hash.is_some()) + usize::from(self.key.is_some())
    }
}
