//! What is known of each subject that travels: who speaks, what this process said last, and what came from elsewhere.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use ratebus_model::{Arrival, Epoch, Message, Subject, Version};

use crate::{
    floor::{Dropped, Floor, Heard, SILENCE, Word},
    letter::{Letter, Opened, is_fresh},
};

/// Subjects that say how something is: of several processes that know it, one speaks. Under all other subjects everybody
/// does.
pub(crate) const STATES: [&str; 3] = ["rates.", "pairs.", "quotes."];
/// How many subjects are known at most; messages of more are dropped.
const MOST: usize = 65_536;
/// After how long without a message it is forgotten what was said under a subject where everybody speaks: longer than a
/// letter may be under way, so that none is taken twice.
pub(crate) const IDLE: Duration = Duration::from_mins(1);
/// How many publishers of a subject without a speaker are told apart.
const PUBLISHERS: usize = 16;
/// How many requests from elsewhere may be without an answer; then the oldest has none.
const REQUESTS: usize = 4096;

/// All subjects.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: HashMap<Subject, Line>,
    /// Where requests from elsewhere await their answers, the latest at the end.
    asked: VecDeque<Subject>,
}

#[derive(Debug)]
enum Line {
    State { floor: Floor, last: Option<Last> },
    Open { own: Publishers, foreign: Publishers, used_at: Instant },
}

/// What this process said last under a subject, and when.
#[derive(Debug)]
struct Last {
    message: Arc<Message>,
    at: Instant,
}

/// How far each of several publishers is, the one that was heard last at the end.
#[derive(Debug, Default)]
struct Publishers(VecDeque<Version>);

/// What is to be done about something that came from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// To be delivered here.
    pub(crate) message: Option<Message>,
    /// To be sent in answer.
    pub(crate) goodbye: Option<Letter>,
    /// Why it is not to be delivered.
    pub(crate) dropped: Option<&'static str>,
}

impl Table {
    /// This process published something: what is to be sent.
    pub(crate) fn say(&mut self, message: &Arc<Message>, now: Arrival) -> Option<Letter> {
        if message.subject.is_reply() {
            // An answer to a request that was made here stays here.
            let place = self.asked.iter().position(|asked| *asked == message.subject)?;
            self.asked.remove(place);
            return Some(Letter::new(Word { version: message.version, follows: None }, message, now));
        }
        match self.line(&message.subject, now.at)? {
            Line::State { floor, last } => {
                *last = Some(Last { message: message.clone(), at: now.at });
                speak(floor, message, now)
            }
            Line::Open { own, .. } => own
                .advance(message.version)
                .then(|| Letter::new(Word { version: message.version, follows: None }, message, now)),
        }
    }

    /// Whether this process is heard under a subject, or could be.
    pub(crate) fn speaks(&self, subject: &Subject) -> bool {
        match self.lines.get(subject) {
            Some(Line::State { floor, .. }) => floor.speaks(),
            Some(Line::Open { .. }) => true,
            None => !is_state(subject),
        }
    }

    /// Forgets subjects under which everybody speaks and nobody does any more.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.lines.retain(|_, line| match line {
            Line::State { .. } => true,
            Line::Open { used_at, .. } => now.saturating_duration_since(*used_at) <= IDLE,
        });
    }

    /// What is to be said again, so that whoever joins knows it and whoever missed it hears of it.
    pub(crate) fn repeat(&mut self, now: Arrival) -> Vec<(Subject, Letter)> {
        let repeat = |(subject, line): (&Subject, &mut Line)| match line {
            Line::State { floor, last: Some(last) } if floor.should_repeat(now.at) => {
                speak(floor, &last.message, now).map(|letter| (subject.clone(), letter))
            }
            _ => None,
        };
        self.lines.iter_mut().filter_map(repeat).collect()
    }

    /// Ends the turns of those who say nothing any more because they are gone, as `is_published` tells: a source that a
    /// config no longer has, a pair that is served no more. Others may speak then, and are heard here. Until then what they
    /// said last is repeated, so that nobody misses it.
    pub(crate) fn retire(&mut self, is_published: impl Fn(&Subject) -> bool, now: Arrival) -> Vec<(Subject, Letter)> {
        let retire = |(subject, line): (&Subject, &mut Line)| match line {
            Line::State { floor, last } => {
                last.take_if(|last| now.at.saturating_duration_since(last.at) > SILENCE && !is_published(subject))?;
                floor.leave(now.at).map(|word| (subject.clone(), Letter::goodbye(word, now)))
            }
            Line::Open { .. } => None,
        };
        self.lines.iter_mut().filter_map(retire).collect()
    }

    /// This process says nothing any more: the ends of its turns.
    pub(crate) fn leave(&mut self, now: Arrival) -> Vec<(Subject, Letter)> {
        let leave = |(subject, line): (&Subject, &mut Line)| match line {
            Line::State { floor, .. } => floor.leave(now.at).map(|word| (subject.clone(), Letter::goodbye(word, now))),
            Line::Open { .. } => None,
        };
        self.lines.iter_mut().filter_map(leave).collect()
    }

    /// Something came from the broker; or was `kept` there, where its speaker may have left since: whoever speaks now is
    /// followed at once.
    pub(crate) fn hear(&mut self, subject: &Subject, opened: Opened, kept: bool, now: Arrival) -> Outcome {
        if subject.is_reply() {
            // Each is used once: whoever awaits it takes the first.
            return Outcome { message: opened.message, ..Outcome::default() };
        }
        let outcome = self.hear_line(subject, opened, kept, now);
        if let Some(message) = &outcome.message {
            self.expect_answer(message);
        }
        outcome
    }

    /// An answer to this is to be sent.
    pub(crate) fn expect_answer(&mut self, message: &Message) {
        let Some(reply) = &message.reply else { return };
        if self.asked.contains(reply) {
            return;
        }
        if self.asked.len() == REQUESTS {
            self.asked.pop_front();
        }
        self.asked.push_back(reply.clone());
    }

    fn hear_line(&mut self, subject: &Subject, opened: Opened, kept: bool, now: Arrival) -> Outcome {
        let Some(line) = self.line(subject, now.at) else {
            return Outcome { dropped: Some("too_many_subjects"), ..Outcome::default() };
        };
        match line {
            Line::State { floor, .. } => {
                let heard_at = if kept { opened.sent_at.checked_sub(SILENCE * 2) } else { Some(now.at) };
                let heard_at = heard_at.unwrap_or(now.at);
                let Heard { taken, goodbye } = floor.hear(opened.word, opened.said(now.at), heard_at);
                let goodbye = goodbye.map(|word| Letter::goodbye(word, now));
                match taken {
                    // Who knows it himself needs nobody else's word.
                    Ok(()) if floor.is_ours() => Outcome { goodbye, ..Outcome::default() },
                    Ok(()) => Outcome { message: opened.message, goodbye, dropped: None },
                    Err(dropped) => Outcome { goodbye, dropped: Some(dropped.as_str()), message: None },
                }
            }
            Line::Open { own, foreign, .. } => {
                let version = opened.word.version;
                let dropped = if own.knows(version.epoch) {
                    Some(Dropped::Echo)
                } else if foreign.advance(version) {
                    None
                } else {
                    Some(Dropped::NotNewer)
                };
                let message = opened.message.filter(|_| dropped.is_none());
                Outcome { message, goodbye: None, dropped: dropped.map(Dropped::as_str) }
            }
        }
    }

    fn line(&mut self, subject: &Subject, now: Instant) -> Option<&mut Line> {
        if !self.lines.contains_key(subject) {
            if self.lines.len() >= MOST {
                return None;
            }
            self.lines.insert(subject.clone(), Line::new(subject, now));
        }
        let line = self.lines.get_mut(subject)?;
        if let Line::Open { used_at, .. } = line {
            *used_at = now;
        }
        Some(line)
    }
}

/// Whether the last value under a subject is kept at the broker.
pub(crate) fn is_state(subject: &Subject) -> bool {
    STATES.iter().any(|prefix| subject.as_str().starts_with(prefix))
}

fn speak(floor: &mut Floor, message: &Message, now: Arrival) -> Option<Letter> {
    let word = floor.say(is_fresh(&message.payload, now.at), now.at, random)?;
    Some(Letter::new(word, message, now))
}

/// A number nobody else has; one that somebody may have when the system has none only makes a tie longer.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

impl Line {
    fn new(subject: &Subject, now: Instant) -> Self {
        if is_state(subject) {
            Self::State { floor: Floor::default(), last: None }
        } else {
            Self::Open { own: Publishers::default(), foreign: Publishers::default(), used_at: now }
        }
    }
}

impl Publishers {
    fn knows(&self, epoch: Epoch) -> bool {
        self.0.iter().any(|known| known.epoch == epoch)
    }

    /// Whether the version is newer than all of its publisher.
    fn advance(&mut self, version: Version) -> bool {
        match self.0.iter().position(|known| known.epoch == version.epoch) {
            Some(place) if !version.is_after(self.0[place]) => return false,
            Some(place) => _ = self.0.remove(place),
            None if self.0.len() == PUBLISHERS => _ = self.0.pop_front(),
            None => {}
        }
        self.0.push_back(version);
        true
    }
}

#[cfg(test)]
mod tests;
