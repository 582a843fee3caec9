//! The bus from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{sync::Arc, time::Duration};

use ratebus_bus::{Bus, BusConfig, Outgoing, Policy, Subscribe, Subscription};
use ratebus_model::{Message, Payload, Subject};

mod import;
mod lanes;
mod last_values;
mod matching;
mod policies;
mod queue_groups;
mod requests;
mod stress;

fn bus() -> Bus {
    Bus::new(BusConfig::default())
}

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

/// A message that says `number`.
fn message(subject: &str, number: u64) -> Outgoing {
    Outgoing::new(self::subject(subject), Payload::Bytes(number.to_string().into()))
}

fn number(message: &Message) -> u64 {
    let Payload::Bytes(text) = &message.payload else { panic!("{:?}", message.payload) };
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

fn subscribe(bus: &Bus, pattern: &str, policy: Policy, capacity: usize) -> Subscription {
    bus.subscribe(Subscribe { policy, capacity, ..named("test", pattern) })
}

fn named(name: &str, pattern: &str) -> Subscribe {
    Subscribe::new(name, pattern.parse::<ratebus_model::Pattern>().unwrap())
}

const BLOCK: Policy = Policy::Block { timeout: Duration::from_mins(1) };

/// What the subscription holds now.
fn pending(subscription: &mut Subscription) -> Vec<Arc<Message>> {
    std::iter::from_fn(|| subscription.try_recv()).collect()
}

fn numbers(subscription: &mut Subscription) -> Vec<u64> {
    pending(subscription).iter().map(|message| number(message)).collect()
}
