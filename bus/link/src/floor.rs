//! Who speaks on a subject when several processes could: one has the floor, the others stand by.
//!
//! Two processes that take the same rate from the same exchange would give everybody who listens two streams of one
//! price. So a process that has something to say listens first, speaks if nobody does, and stands by while another
//! speaks and what it says is fresh. It needs no lock and no clock in common: only the broker, over which each hears
//! the others. Each turn at speaking is an epoch, so listeners can tell turns apart and never go back to one that
//! another has followed.
//!
//! Two may begin in the same moment, and a broker may be cut in two. Then both speak until they hear each other. One of
//! them gives the floor up; the other goes on with a new turn that follows its own, because to some listeners that may
//! already be past. Turns are numbered, each higher than all that the speaker has heard of: so of two, the later one goes
//! on. Listeners stay with the turn they heard first until it says goodbye, is followed, falls silent or becomes stale.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ratebus_model::{Epoch, Version};

/// How long a process listens before it speaks for the first time: longer than [`REPEAT`], within which whoever speaks
/// is heard.
pub(crate) const LISTEN: Duration = Duration::from_millis(1500);
/// Whoever speaks repeats what he said after so long, though it is nothing new: whoever joins is whole within a second.
pub(crate) const REPEAT: Duration = Duration::from_millis(700);
/// Whoever was not heard for so long speaks no more.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// How many past turns are remembered; older ones belong to processes long gone.
const REMEMBERED: usize = 8;

/// What this process knows of a subject's speakers.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    /// The turn of another process that is listened to.
    other: Option<Turn>,
    own: Own,
    /// The goodbye of the last own turn.
    goodbye: Option<Word>,
    /// The latest first.
    past: VecDeque<Epoch>,
    /// The highest number of any turn so far.
    highest: u32,
}

/// A turn of another process.
#[derive(Debug, Clone, Copy)]
struct Turn {
    version: Version,
    heard_at: Instant,
    fresh: bool,
}

/// What this process does.
#[derive(Debug, Clone, Copy, Default)]
enum Own {
    /// It has nothing to say.
    #[default]
    Silent,
    /// It could speak, and has listened since then.
    Waiting { since: Instant },
    /// It has the floor; to `renew` is to go on with a turn that follows this one.
    Speaking { word: Word, said_at: Instant, fresh: bool, renew: bool },
}

/// A place in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    /// The turn and the place.
    pub(crate) version: Version,
    /// The turn of the same process that this one follows.
    pub(crate) follows: Option<Epoch>,
}

impl Word {
    fn turn(self) -> Epoch {
        self.version.epoch
    }

    fn next(self) -> Self {
        Self { version: self.version.next(), ..self }
    }
}

/// What another process said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Something; whether it is fresh.
    Something { fresh: bool },
    /// That its turn is over.
    Goodbye,
}

/// What becomes of something that another process said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Whether it is the newest of the turn that is listened to.
    pub(crate) taken: Result<(), Dropped>,
    /// This process's turn is over: it says goodbye with this.
    pub(crate) goodbye: Option<Word>,
}

/// Why something was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// This process said it.
    Echo,
    /// One as new or newer was heard.
    NotNewer,
    /// Its turn is over.
    PastTurn,
    /// Another has the floor.
    OutOfTurn,
}

impl Dropped {
    /// The reason as a metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::NotNewer => "not_newer",
            Self::PastTurn => "past_turn",
            Self::OutOfTurn => "out_of_turn",
        }
    }
}

impl Floor {
    /// Another process said something.
    pub(crate) fn hear(&mut self, word: Word, said: Said, now: Instant) -> Heard {
        let taken = self.judge(word, said, now);
        let epoch = word.version.epoch;
        self.highest = self.highest.max(number(epoch));
        let mut goodbye = None;
        match (taken, said) {
            (Ok(()), Said::Goodbye) => self.end(epoch),
            (Ok(()), Said::Something { fresh }) => {
                // To some listeners a turn that is not later than the own one may be past: its speaker must get to know.
                goodbye =
                    self.give_up(now).or_else(|| self.goodbye.filter(|word| number(epoch) <= number(word.turn())));
                let before = self.other.replace(Turn { version: word.version, heard_at: now, fresh });
                if let Some(before) = before.map(|turn| turn.version.epoch).filter(|before| *before != epoch) {
                    self.remember(before);
                }
            }
            (Err(Dropped::OutOfTurn), _) => {
                if let Own::Speaking { renew, .. } = &mut self.own {
                    *renew = true;
                    // Once for each: what is still on its way of the other turn is past.
                    self.remember(epoch);
                }
            }
            (Err(_), _) => {}
        }
        Heard { taken, goodbye }
    }

    fn judge(&self, Word { version, follows }: Word, said: Said, now: Instant) -> Result<(), Dropped> {
        if self.past.contains(&version.epoch) {
            return Err(Dropped::PastTurn);
        }
        if let Own::Speaking { word: own, fresh, .. } = self.own {
            if own.turn() == version.epoch {
                return Err(Dropped::Echo);
            }
            let goes_on = match said {
                Said::Something { fresh: other } => (other, version.epoch.number()) > (fresh, own.turn().number()),
                Said::Goodbye => false,
            };
            return if goes_on { Ok(()) } else { Err(Dropped::OutOfTurn) };
        }
        match self.other {
            Some(turn) if turn.version.epoch == version.epoch => {
                if version.is_after(turn.version) {
                    Ok(())
                } else {
                    Err(Dropped::NotNewer)
                }
            }
            Some(turn) if follows != Some(turn.version.epoch) && turn.holds_against(said, now) => {
                Err(Dropped::OutOfTurn)
            }
            _ => Ok(()),
        }
    }

    /// This process has something to say: the place for it, if it has the floor. `random` tells a new turn apart.
    pub(crate) fn say(&mut self, fresh: bool, now: Instant, random: impl FnOnce() -> u32) -> Option<Word> {
        let word = match self.own {
            Own::Silent => {
                self.own = Own::Waiting { since: now };
                return None;
            }
            Own::Waiting { since } => {
                let listened = now.saturating_duration_since(since) >= LISTEN;
                if !listened || self.other.is_some_and(|turn| turn.holds_against(Said::Something { fresh }, now)) {
                    return None;
                }
                if let Some(before) = self.other.take() {
                    self.remember(before.version.epoch);
                }
                self.begin(None, random())
            }
            Own::Speaking { said_at, word, .. } if now.saturating_duration_since(said_at) > SILENCE => {
                // It was suspended or cut off, and another may have the floor by now.
                self.remember(word.turn());
                self.goodbye = Some(word.next());
                self.own = Own::Waiting { since: now };
                return None;
            }
            Own::Speaking { word, renew: true, .. } => {
                self.remember(word.turn());
                self.begin(Some(word.turn()), random())
            }
            Own::Speaking { word, .. } => word.next(),
        };
        self.own = Own::Speaking { word, said_at: now, fresh, renew: false };
        Some(word)
    }

    /// This process has nothing to say any more: the place to say goodbye at, if it has the floor.
    pub(crate) fn leave(&mut self, now: Instant) -> Option<Word> {
        let goodbye = self.give_up(now);
        self.own = Own::Silent;
        goodbye
    }

    /// Whether this process has something to say on the subject, and so needs nobody else's word.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self.own, Own::Silent)
    }

    /// Whether it is this process that is heard.
    pub(crate) fn speaks(&self) -> bool {
        matches!(self.own, Own::Speaking { .. })
    }

    /// Whether it is time to say again what is known.
    pub(crate) fn should_repeat(&self, now: Instant) -> bool {
        match self.own {
            Own::Silent => false,
            Own::Waiting { .. } => true,
            Own::Speaking { said_at, .. } => now.saturating_duration_since(said_at) >= REPEAT,
        }
    }

    fn begin(&mut self, follows: Option<Epoch>, random: u32) -> Word {
        self.highest = self.highest.saturating_add(1);
        Word { version: Version::first(turn_of(self.highest, random)), follows }
    }

    /// Ends the own turn. It may begin another at once if nobody has the floor: it has listened all the time.
    fn give_up(&mut self, now: Instant) -> Option<Word> {
        let Own::Speaking { word, .. } = self.own else { return None };
        self.remember(word.turn());
        self.own = Own::Waiting { since: now.checked_sub(LISTEN).unwrap_or(now) };
        self.goodbye = Some(word.next());
        self.goodbye
    }

    /// Another process's turn is over.
    fn end(&mut self, epoch: Epoch) {
        self.other.take_if(|turn| turn.version.epoch == epoch);
        self.remember(epoch);
    }

    fn remember(&mut self, epoch: Epoch) {
        self.past.truncate(REMEMBERED - 1);
        self.past.push_front(epoch);
    }
}

impl Turn {
    /// Whether it goes on though another begins.
    fn holds_against(self, said: Said, now: Instant) -> bool {
        let silent = now.saturating_duration_since(self.heard_at) > SILENCE;
        let outdone = !self.fresh && said == Said::Something { fresh: true };
        !silent && !outdone
    }
}

/// The epoch of a turn: its number first, then what tells it from others of that number.
fn turn_of(number: u32, random: u32) -> Epoch {
    Epoch::new(u64::from(number) << 32 | u64::from(random))
}

fn number(epoch: Epoch) -> u32 {
    (epoch.number() >> 32) as u32
}

#[cfg(test)]
mod tests;
