//! The message bus: subjects, inboxes, last values, queue groups and requests.
//!
//! A [`Publisher`] stamps a message and puts it into the inbox of every [`Subscription`] whose pattern matches. It never
//! waits for a reader: each subscription says by its [`Policy`] what happens to a message that does not fit, and only
//! [`Policy::Block`] can make [`Publisher::publish`] wait. Delivery is at most once, and in order per publisher and
//! subject. Everything is bounded: inboxes by their capacity, remembered subjects and last values by [`BusConfig`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use ratebus_bus::{Bus, BusConfig, Outgoing, Subscribe};
//! use ratebus_model::{Pattern, Payload, Subject};
//!
//! let bus = Bus::new(BusConfig::default());
//! let publisher = bus.publisher("kraken");
//! let subject: Subject = "rates.kraken.BTC_USD".parse().unwrap();
//! publisher.try_publish(Outgoing::new(subject, Payload::Bytes("20249".into()))).unwrap();
//!
//! let rates: Pattern = "rates.>".parse().unwrap();
//! let mut subscription = bus.subscribe(Subscribe { replay: true, ..Subscribe::new("spread", rates) });
//! assert_eq!(subscription.recv().await.unwrap().version.sequence, 1);
//! # });
//! ```

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

mod bus;
mod effects;
mod inbox;
mod lane;
mod line;
mod publisher;
mod queue;
mod replies;
mod slow;
mod subjects;
mod subscription;
mod targets;
mod trie;

pub use bus::{Bus, BusConfig, Elsewhere};
pub use publisher::Publisher;
pub use ratebus_model::{Outgoing, Policy, PublishError, RequestError};
pub use subscription::{Stats, Subscribe, Subscription};

/// Locks. Nothing in this crate panics under a lock in a way that leaves things half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number nobody can guess, or, should the system have none, one that is at least new.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}
