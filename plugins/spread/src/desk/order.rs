use std::collections::VecDeque;

use ratebus_sdk::model::{Epoch, Version};

use super::Dropped;

/// How many left epochs are remembered; older ones belong to publishers long gone.
const REMEMBERED: usize = 8;

/// Lets the messages of one subject through in order: never the same or an older one of an epoch, and never one of an
/// epoch that another has followed.
#[derive(Debug)]
pub(super) struct Order {
    newest: Version,
    left: VecDeque<Epoch>,
}

impl Order {
    /// Nothing but the first message was seen.
    pub(super) fn starting_with(first: Version) -> Self {
        Self { newest: first, left: VecDeque::new() }
    }

    /// Lets a message through, or says why not.
    pub(super) fn advance(&mut self, version: Version) -> Result<(), Dropped> {
        if version.epoch == self.newest.epoch {
            if !version.is_after(self.newest) {
                return Err(Dropped::NotNewer);
            }
        } else if self.left.contains(&version.epoch) {
            return Err(Dropped::LeftEpoch);
        } else {
            self.left.truncate(REMEMBERED - 1);
            self.left.push_front(self.newest.epoch);
        }
        self.newest = version;
        Ok(())
    }
}
