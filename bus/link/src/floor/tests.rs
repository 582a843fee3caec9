use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::{collection::vec, prelude::*};

use super::*;

const TICK: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_millis(200);
/// From when on nothing is wrong any more, and until when it is watched.
const HEALED: Duration = Duration::from_mins(1);
const END: Duration = Duration::from_secs(90);
/// A turn ends unheard, is missed, and the next begins at a tick; what is on its way arrives.
const TAKEOVER: Duration = Duration::from_millis(3_000 + 250 + 250 + 200);

#[derive(Debug, Clone)]
struct Scenario {
    /// What is wrong with each process, and when.
    faults: Vec<Vec<Fault>>,
    /// How long each message takes, in turn, and whether it is lost.
    network: Vec<(Duration, bool)>,
    /// Where the epochs come from.
    seed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    from: Duration,
    to: Duration,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It neither says nor hears anything; what is sent to it arrives when it goes on.
    Suspended,
    /// What it says is not fresh.
    Stale,
    /// Nothing gets out or in; what is sent is lost.
    CutOff,
}

fn fault() -> impl Strategy<Value = Fault> {
    let kind = prop_oneof![Just(Kind::Suspended), Just(Kind::Stale), Just(Kind::CutOff)];
    (0u64..50_000, 100u64..15_000, kind).prop_map(|(from, long, kind)| {
        let to = Duration::from_millis(from + long).min(HEALED);
        Fault { from: Duration::from_millis(from), to, kind }
    })
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let network = (0u64..=200, prop::bool::weighted(0.05));
    (vec(vec(fault(), 0..3), 1..4), vec(network, 64), any::<u32>()).prop_map(|(faults, network, seed)| Scenario {
        faults,
        network: network.into_iter().map(|(millis, lost)| (Duration::from_millis(millis), lost)).collect(),
        seed,
    })
}

impl Scenario {
    /// What the listeners were let through.
    fn run(&self) -> [Listener; 2] {
        let world = World {
            processes: self.faults.iter().map(|_| Floor::default()).collect(),
            listeners: Default::default(),
            on_the_way: BinaryHeap::new(),
            sent: 0,
            epochs: 0,
            start: Instant::now(),
            scenario: self,
        };
        world.run()
    }

    fn suffers(&self, process: usize, kind: Kind, at: Duration) -> bool {
        let faults = self.faults.get(process).map(Vec::as_slice).unwrap_or_default();
        faults.iter().any(|fault| fault.kind == kind && (fault.from..fault.to).contains(&at))
    }
}

/// What a listener that says nothing itself was let through.
#[derive(Debug, Default)]
struct Listener {
    floor: Floor,
    taken: Vec<(Duration, Version, bool)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Reverse<Duration>,
    number: Reverse<usize>,
    /// A process, or past the last one a listener.
    to: usize,
    word: (u64, u64, Option<u64>),
    said: Option<bool>,
}

struct World<'a> {
    scenario: &'a Scenario,
    processes: Vec<Floor>,
    listeners: [Listener; 2],
    on_the_way: BinaryHeap<Arrival>,
    sent: usize,
    epochs: u32,
    start: Instant,
}

impl World<'_> {
    fn send(&mut self, from: usize, word: Word, said: Option<bool>, at: Duration) {
        if self.scenario.suffers(from, Kind::CutOff, at) {
            return;
        }
        for to in 0..self.processes.len() + self.listeners.len() {
            let (takes, lost) = self.scenario.network[self.sent % self.scenario.network.len()];
            self.sent += 1;
            let lost = lost && at < HEALED;
            if !lost && !self.scenario.suffers(to, Kind::CutOff, at) {
                let Word { version: Version { epoch, sequence }, follows } = word;
                self.on_the_way.push(Arrival {
                    at: Reverse(at + takes.min(SLOWEST)),
                    number: Reverse(self.sent),
                    to,
                    word: (epoch.number(), sequence, follows.map(Epoch::number)),
                    said,
                });
            }
        }
    }

    fn arrive(&mut self, Arrival { at: Reverse(at), number, to, word, said }: Arrival) {
        if self.scenario.suffers(to, Kind::Suspended, at) {
            let at = Reverse(at + TICK);
            self.on_the_way.push(Arrival { at, number, to, word, said });
            return;
        }
        let (epoch, sequence, follows) = word;
        let version = Version { epoch: Epoch::new(epoch), sequence };
        let word = Word { version, follows: follows.map(Epoch::new) };
        let said_this = said.map_or(Said::Goodbye, |fresh| Said::Something { fresh });
        let now = self.start + at;
        if let Some(floor) = self.processes.get_mut(to) {
            if let Some(goodbye) = floor.hear(word, said_this, now).goodbye {
                self.send(to, goodbye, None, at);
            }
            return;
        }
        let listener = &mut self.listeners[to - self.processes.len()];
        let heard = listener.floor.hear(word, said_this, now);
        assert_eq!(heard.goodbye, None);
        if let (Ok(()), Some(fresh)) = (heard.taken, said) {
            listener.taken.push((at, version, fresh));
        }
    }

    fn tick(&mut self, at: Duration) {
        for process in 0..self.processes.len() {
            if self.scenario.suffers(process, Kind::Suspended, at) {
                continue;
            }
            let fresh = !self.scenario.suffers(process, Kind::Stale, at);
            let (seed, epochs) = (self.scenario.seed, &mut self.epochs);
            let random = || {
                *epochs += 1;
                seed.wrapping_mul(*epochs).rotate_left(16) ^ *epochs
            };
            if let Some(word) = self.processes[process].say(fresh, self.start + at, random) {
                self.send(process, word, Some(fresh), at);
            }
        }
    }

    fn run(mut self) -> [Listener; 2] {
        let mut at = Duration::ZERO;
        while at < END {
            while self.on_the_way.peek().is_some_and(|next| next.at.0 <= at) {
                let next = self.on_the_way.pop().unwrap();
                self.arrive(next);
            }
            self.tick(at);
            at += TICK;
        }
        self.listeners
    }
}

proptest! {
    // Each case is a minute and a half of several processes.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Whatever was wrong: nobody is ever led back, and once it is right again all listen to one process.
    #[test]
    fn listeners_hear_one_stream(scenario in scenario()) {
        let listeners = scenario.run();
        let settled = HEALED + Duration::from_secs(15);
        let mut speakers = Vec::new();
        for Listener { taken, .. } in &listeners {
            let mut past: Vec<Epoch> = Vec::new();
            for window in taken.windows(2) {
                let ((_, before, _), (_, after, _)) = (window[0], window[1]);
                if before.epoch == after.epoch {
                    prop_assert!(after.is_after(before));
                } else {
                    past.push(before.epoch);
                    prop_assert!(!past.contains(&after.epoch), "an epoch that was left has returned");
                }
            }
            speakers.extend(taken.iter().filter(|(at, ..)| *at > settled).map(|(_, version, _)| version.epoch));
            let gaps = taken.windows(2).filter(|window| window[0].0 > settled).map(|window| window[1].0.saturating_sub(window[0].0));
            prop_assert!(gaps.max() <= Some(TICK * 2 + SLOWEST));
        }
        prop_assert!(!speakers.is_empty(), "somebody speaks");
        speakers.dedup();
        prop_assert_eq!(speakers.len(), 1, "one for all listeners");
    }

    /// The one that speaks is gone from one moment to the next: another is heard soon.
    #[test]
    fn another_takes_over(gone_at in 10_000u64..20_000, network in vec(0u64..=200, 16), seed: u32) {
        let gone_at = Duration::from_millis(gone_at);
        let network: Vec<_> = network.into_iter().map(|millis| (Duration::from_millis(millis), false)).collect();
        let run = |faults| Scenario { faults, network: network.clone(), seed }.run();
        for gone in 0..2 {
            let mut faults = vec![Vec::new(), Vec::new()];
            faults[gone].push(Fault { from: gone_at, to: END, kind: Kind::Suspended });
            for Listener { taken, .. } in run(faults) {
                let longest = taken.windows(2).map(|window| window[1].0.saturating_sub(window[0].0)).max().unwrap();
                let around = taken.windows(2).find(|window| window[1].0.saturating_sub(window[0].0) == longest);
                prop_assert!(longest <= TAKEOVER, "{longest:?} {around:?}");
            }
        }
    }
}
