use std::collections::VecDeque;

use crate::{Epoch, Version};

/// How many left epochs are remembered; older ones belong to publishers long gone.
const REMEMBERED: usize = 8;

/// Lets the versions of one thing through in order: never the same or an older one of an epoch, and never one of an
/// epoch that another has followed.
#[derive(Debug, Clone)]
pub struct Order {
    newest: Version,
    /// The latest first.
    left: VecDeque<Epoch>,
}

/// Why a version is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// One as new or newer was seen.
    #[error("one as new or newer was seen")]
    NotNewer,
    /// Its publisher was followed by another.
    #[error("its publisher was followed by another")]
    LeftEpoch,
}

impl Order {
    /// Nothing but the first version was seen.
    pub fn starting_with(first: Version) -> Self {
        Self { newest: first, left: VecDeque::new() }
    }

    /// Whether [`Order::advance`] would let a version through.
    pub fn check(&self, version: Version) -> Result<(), OutOfOrder> {
        if version.epoch == self.newest.epoch {
            if version.is_after(self.newest) { Ok(()) } else { Err(OutOfOrder::NotNewer) }
        } else if self.left.contains(&version.epoch) {
            Err(OutOfOrder::LeftEpoch)
        } else {
            Ok(())
        }
    }

    /// Lets a version through, or says why not.
    pub fn advance(&mut self, version: Version) -> Result<(), OutOfOrder> {
        self.check(version)?;
        if version.epoch != self.newest.epoch {
            self.left.truncate(REMEMBERED - 1);
            self.left.push_front(self.newest.epoch);
        }
        self.newest = version;
        Ok(())
    }
}
