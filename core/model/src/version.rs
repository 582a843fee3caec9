use std::{fmt, str::FromStr};

use crate::{Invalid, schema::text_schema, serde_as_text};

/// One run of one publisher: a random number, new at each start and never ordered. Text form: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch of the given random number.
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// The number. Not an order in time: for choosing between two that nothing else tells apart.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for Epoch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "an epoch of 16 hexadecimal digits");
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Epoch);
text_schema!(
    Epoch,
    "A run of what publishes a pair: within it the sequence only grows. No order between epochs.",
    "^[0-9a-f]{16}$",
    "5f0c1d2e3b4a5968"
);

/// Where a value stands in its publisher's run: within one epoch a higher sequence is newer, across epochs nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// The publisher's run.
    pub epoch: Epoch,
    /// Counts up from 1 within the epoch, per subject.
    pub sequence: u64,
}

impl Version {
    /// The first version of an epoch.
    pub const fn first(epoch: Epoch) -> Self {
        Self { epoch, sequence: 1 }
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { epoch: self.epoch, sequence: self.sequence + 1 }
    }

    /// Whether this is newer than `other` of the same epoch.
    pub fn is_after(self, other: Self) -> bool {
        self.epoch == other.epoch && self.sequence > other.sequence
    }
}
