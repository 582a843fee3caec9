//! The other processes on the broker, and what they want to hear.
//!
//! Each process says once a second, and when it changes, which subjects it has readers and members of queue groups for,
//! as far as it lets them in. So whoever publishes can decide who of a group has a message, and a request that nobody would
//! hear fails at once. The decision is one process's alone: two members never have the same message, and what is meant for
//! a process that has just died is lost.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ratebus_bus::{Bus, Elsewhere};
use ratebus_model::{Arrival, Epoch, Message, Pattern, Payload, Subject, Version};
use ratebus_sdk::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    floor::{Dropped, Word},
    letter::{Letter, Opened},
    table::IDLE,
};

/// How often a process says what it wants.
const REPEAT: Duration = Duration::from_secs(1);
/// Whoever was not heard for so long wants nothing any more.
const SILENCE: Duration = Duration::from_secs(3);
/// How long after connecting everybody has been heard.
const SETTLED: Duration = Duration::from_millis(1500);
/// How many processes are known at most.
const MOST: usize = 256;
/// How many things a process says that it wants.
const MOST_WANTS: usize = 512;

/// What the subjects begin with under which links speak to each other.
const RESERVED: &str = "_LINK.";
/// Where processes say what they want.
const ANNOUNCEMENTS: &str = "_LINK.peers";
/// What the subjects of processes begin with, to which goes what is meant for their members of queue groups.
const MAILBOXES: &str = "_LINK.to.";

/// Whether links alone speak under this subject.
pub(crate) fn is_reserved(subject: &Subject) -> bool {
    subject.as_str().starts_with(RESERVED)
}

/// Whether processes say under this subject what they want.
pub(crate) fn is_announcement(subject: &Subject) -> bool {
    subject.as_str() == ANNOUNCEMENTS
}

/// Whether what comes under this subject is meant for one process.
pub(crate) fn is_mailbox(subject: &Subject) -> bool {
    subject.as_str().starts_with(MAILBOXES)
}

/// What a process wants: the subjects of a pattern, for a member of a queue group or for others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Want {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    pattern: Pattern,
}

#[derive(Serialize, Deserialize)]
struct Announcement {
    wants: BTreeSet<Want>,
}

/// A member of a queue group in another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) process: Epoch,
    pub(crate) group: Arc<str>,
    pub(crate) pattern: Pattern,
}

/// This process among the others.
#[derive(Debug)]
pub(crate) struct Peers {
    name: Epoch,
    exports: Vec<Pattern>,
    imports: Vec<Pattern>,
    state: Mutex<State>,
    /// What others want has changed.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    connected_at: Option<Instant>,
    /// Counts what this process says in its own name.
    sequence: u64,
    /// What this process wants, as of a generation of its bus.
    wants: BTreeSet<Want>,
    generation: u64,
    /// When it last said so; none if it has to.
    announced_at: Option<Instant>,
    others: HashMap<Epoch, Peer>,
}

#[derive(Debug)]
struct Peer {
    heard_at: Instant,
    /// The last of what it said to everybody, and to this process alone.
    announced: u64,
    mailed: u64,
    wants: BTreeSet<Want>,
}

impl Peers {
    /// A process of the given name that lets `exports` out and `imports` in.
    pub(crate) fn new(name: Epoch, exports: Vec<Pattern>, imports: Vec<Pattern>) -> Self {
        Self { name, exports, imports, state: Mutex::default(), changed: Notify::new() }
    }

    /// What a process hears in its own name: what others want, and what is meant for it.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = Pattern> {
        [ANNOUNCEMENTS.to_owned(), format!("{MAILBOXES}{}", self.name)].into_iter().filter_map(|text| text.parse().ok())
    }

    /// Whether what comes under this subject is meant for this process.
    pub(crate) fn is_mine(&self, subject: &Subject) -> bool {
        subject.as_str().strip_prefix(MAILBOXES).and_then(|name| name.parse().ok()) == Some(self.name)
    }

    /// Whether this process lets messages under this subject in.
    pub(crate) fn imports(&self, subject: &Subject) -> bool {
        self.imports.iter().any(|pattern| pattern.matches(subject))
    }

    /// The way to the broker stands.
    pub(crate) fn connected(&self, now: Instant) {
        let mut state = self.lock();
        state.connected_at = Some(now);
        state.announced_at = None;
    }

    /// Who is there is not known any more. How far each is stays known, so that nothing is taken twice.
    pub(crate) fn disconnected(&self) {
        let mut state = self.lock();
        state.connected_at = None;
        for peer in state.others.values_mut() {
            peer.wants.clear();
        }
    }

    /// What this process wants, if it is time to say it.
    pub(crate) fn announce(&self, bus: &Bus, now: Arrival) -> Option<(Subject, Letter)> {
        let mut state = self.lock();
        let generation = bus.generation();
        if state.generation != generation {
            state.generation = generation;
            let wants = self.wants(bus);
            if state.wants != wants {
                state.wants = wants;
                state.announced_at = None;
            }
        }
        if state.announced_at.is_some_and(|at| now.at.saturating_duration_since(at) < REPEAT) {
            return None;
        }
        state.announced_at = Some(now.at);
        let text = serde_json::to_vec(&Announcement { wants: state.wants.clone() }).ok()?;
        let subject: Subject = ANNOUNCEMENTS.parse().ok()?;
        let word = self.next_word(&mut state);
        let message = Message {
            subject: subject.clone(),
            reply: None,
            headers: Vec::new(),
            payload: Payload::Bytes(text.into()),
            version: word.version,
            published_at: now.time,
        };
        Some((subject, Letter::new(word, &message, now)))
    }

    /// This process wants nothing any more.
    pub(crate) fn leave(&self, now: Arrival) -> Option<(Subject, Letter)> {
        let word = self.next_word(&mut self.lock());
        Some((ANNOUNCEMENTS.parse().ok()?, Letter::goodbye(word, now)))
    }

    /// A message for a member of a queue group elsewhere.
    pub(crate) fn mail(&self, member: &Member, message: &Message, now: Arrival) -> Option<(Subject, Letter)> {
        let subject = format!("{MAILBOXES}{}", member.process).parse().ok()?;
        let word = self.next_word(&mut self.lock());
        Some((subject, Letter::new(word, message, now).for_member(&member.group, message)))
    }

    /// Another process says what it wants.
    pub(crate) fn hear(&self, opened: &Opened, now: Instant) -> Result<(), &'static str> {
        let Version { epoch, sequence } = opened.word.version;
        if epoch == self.name {
            return Ok(());
        }
        let wants = match &opened.message {
            Some(Message { payload: Payload::Bytes(text), .. }) => {
                serde_json::from_slice::<Announcement>(text).map_err(|_| "malformed")?.wants
            }
            Some(_) => return Err("malformed"),
            None => BTreeSet::new(),
        };
        if wants.len() > MOST_WANTS {
            return Err("malformed");
        }
        let mut state = self.lock();
        let is_new = !state.others.contains_key(&epoch);
        let peer = state.peer(epoch, now)?;
        if sequence <= peer.announced {
            return Err(Dropped::NotNewer.as_str());
        }
        (peer.announced, peer.heard_at) = (sequence, now);
        if peer.wants != wants {
            peer.wants = wants;
            self.changed.notify_one();
        }
        if is_new {
            // It wants to know, too.
            state.announced_at = None;
        }
        Ok(())
    }

    /// Another process has sent something to this one: an error if it is no news.
    pub(crate) fn advance(&self, Version { epoch, sequence }: Version, now: Instant) -> Result<(), &'static str> {
        let mut state = self.lock();
        let peer = state.peer(epoch, now)?;
        if sequence <= peer.mailed {
            return Err(Dropped::NotNewer.as_str());
        }
        (peer.mailed, peer.heard_at) = (sequence, now);
        Ok(())
    }

    /// Leaves those out that have fallen silent.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        let mut changed = false;
        state.others.retain(|_, peer| {
            let silent = now.saturating_duration_since(peer.heard_at);
            if silent > SILENCE && !peer.wants.is_empty() {
                peer.wants.clear();
                changed = true;
            }
            silent <= IDLE
        });
        if changed {
            self.changed.notify_one();
        }
    }

    /// All members of queue groups elsewhere that may have something of what this process lets out.
    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.lock();
        let mut members = Vec::new();
        for (process, peer) in &state.others {
            for Want { group, pattern } in &peer.wants {
                let Some(group) = group else { continue };
                let patterns = self.exports.iter().filter_map(|export| export.and(pattern));
                members.extend(patterns.map(|pattern| Member {
                    process: *process,
                    group: group.as_str().into(),
                    pattern,
                }));
            }
        }
        members
    }

    /// What this process has readers for, and lets in.
    fn wants(&self, bus: &Bus) -> BTreeSet<Want> {
        let mut wants = BTreeSet::new();
        bus.each_interest(|pattern, group| {
            let patterns = self.imports.iter().filter_map(|import| import.and(pattern));
            wants.extend(patterns.map(|pattern| Want { group: group.map(ToString::to_string), pattern }));
        });
        if wants.len() > MOST_WANTS {
            // Rather too much than too little: a request would fail that somebody here answers.
            wants.retain(|want| want.group.is_some());
            wants.extend(self.imports.iter().map(|pattern| Want { group: None, pattern: pattern.clone() }));
        }
        wants.into_iter().take(MOST_WANTS).collect()
    }

    fn next_word(&self, state: &mut State) -> Word {
        state.sequence += 1;
        Word { version: Version { epoch: self.name, sequence: state.sequence }, follows: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn peer(&mut self, name: Epoch, now: Instant) -> Result<&mut Peer, &'static str> {
        let count = self.others.len();
        match self.others.entry(name) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(_) if count >= MOST => Err("too_many_processes"),
            Entry::Vacant(new) => {
                Ok(new.insert(Peer { heard_at: now, announced: 0, mailed: 0, wants: BTreeSet::new() }))
            }
        }
    }
}

impl Elsewhere for Peers {
    /// As far as is known: while it is not, somebody may.
    fn listens(&self, subject: &Subject) -> bool {
        if !self.exports.iter().any(|pattern| pattern.matches(subject)) {
            return false;
        }
        let state = self.lock();
        let is_settled = |at: Instant| Clock.now().saturating_duration_since(at) > SETTLED && state.others.len() < MOST;
        !state.connected_at.is_some_and(is_settled)
            || state.others.values().flat_map(|peer| &peer.wants).any(|want| want.pattern.matches(subject))
    }
}

#[cfg(test)]
mod tests;
