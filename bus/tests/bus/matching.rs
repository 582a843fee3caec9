use proptest::{collection::vec, prelude::*};
use ratebus_bus::Policy;

use super::*;

/// What the wildcards mean, in its plainest form.
fn matches(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) | ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => matches(pattern, subject),
        ([wanted, pattern @ ..], [found, subject @ ..]) => wanted == found && matches(pattern, subject),
        _ => false,
    }
}

fn a_subject() -> impl Strategy<Value = String> {
    vec(prop_oneof!["a", "b", "cc"], 1..5).prop_map(|tokens| tokens.join("."))
}

fn a_pattern() -> impl Strategy<Value = String> {
    let tail = prop_oneof![3 => Just(""), 1 => Just(".>")];
    let tokens = vec(prop_oneof![2 => Just("a"), 1 => Just("b"), 1 => Just("cc"), 2 => Just("*")], 1..5);
    prop_oneof![9 => (tokens, tail).prop_map(|(tokens, tail)| tokens.join(".") + tail), 1 => Just(">".to_owned())]
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(String),
    Unsubscribe(usize),
    Publish(String),
    Read(usize),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => a_pattern().prop_map(Step::Subscribe),
        1 => any::<usize>().prop_map(Step::Unsubscribe),
        8 => a_subject().prop_map(Step::Publish),
        1 => any::<usize>().prop_map(Step::Read),
    ]
}

/// A subscription and what it must hold.
struct Model {
    pattern: String,
    subscription: Subscription,
    expected: Vec<u64>,
}

proptest! {
    /// However subscriptions come and go, each message reaches exactly those that want it: what is remembered of a
    /// subject is never out of date. The smallest memory also forgets subjects all the time; inside a runtime messages
    /// are on the way until somebody reads.
    #[test]
    fn every_message_reaches_those_who_want_it(
        steps in vec(a_step(), 1..120),
        match_cache in prop_oneof![Just(1), Just(1000)],
        inside in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = inside.then(|| runtime.enter());
        let bus = Bus::new(BusConfig { match_cache, last_value_prefixes: vec!["a".to_owned()], ..BusConfig::default() });
        let publisher = bus.publisher("p");
        let mut models: Vec<Model> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            let count = models.len().max(1);
            match step {
                Step::Subscribe(pattern) => {
                    let subscription = subscribe(&bus, &pattern, Policy::DropNewest, 1000);
                    models.push(Model { pattern, subscription, expected: Vec::new() });
                }
                Step::Unsubscribe(which) if which % count < models.len() => drop(models.swap_remove(which % count)),
                Step::Read(which) => {
                    if let Some(Model { subscription, expected, .. }) = models.get_mut(which % count) {
                        prop_assert_eq!(numbers(subscription), std::mem::take(expected));
                    }
                }
                Step::Unsubscribe(_) => {}
                Step::Publish(subject) => {
                    let tokens: Vec<_> = subject.split('.').collect();
                    let wants = |model: &&mut Model| matches(&model.pattern.split('.').collect::<Vec<_>>(), &tokens);
                    let wanted = models.iter_mut().filter(wants).map(|model| model.expected.push(number)).count();
                    prop_assert_eq!(publisher.try_publish(message(&subject, number)), Ok(wanted));
                }
            }
        }
        for Model { pattern, mut subscription, expected } in models {
            prop_assert_eq!(numbers(&mut subscription), expected, "{}", pattern);
        }
    }

    /// Sequences never count back, not even when the bus forgets the subject.
    #[test]
    fn sequences_only_grow(subjects in vec(0..400_u32, 1..2000)) {
        let bus = Bus::new(BusConfig { match_cache: 64, ..BusConfig::default() });
        let publisher = bus.publisher("p");
        let mut all = subscribe(&bus, ">", Policy::DropNewest, 1);
        let mut last = std::collections::HashMap::new();
        for subject in subjects {
            publisher.try_publish(message(&format!("s.{subject}"), 0)).unwrap();
            let sequence = all.try_recv().unwrap().version.sequence;
            let before = last.insert(subject, sequence);
            prop_assert!(before < Some(sequence), "{:?} {}", before, sequence);
        }
    }
}
