use std::{
    mem,
    sync::{Arc, Weak},
    task::Waker,
};

use crate::{bus::Hub, inbox::Inbox, lane::Lane, subscription::Stats};

/// What deliveries bring about and what must not happen under their locks: waking readers takes microseconds, and a
/// report is itself a publication.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Readers and relays that slept.
    pub(crate) wakers: Vec<Waker>,
    /// Lanes whose relay cannot do, or keep up with, its work.
    pub(crate) lanes: Vec<Arc<Lane>>,
    /// Inboxes that were closed because they were full.
    pub(crate) disconnected: Vec<Arc<Inbox>>,
    /// Inboxes that dropped messages, and whose last report is long enough ago.
    pub(crate) slow: Vec<(Arc<Inbox>, Stats)>,
}

impl Effects {
    /// Brings them about. The caller holds no lock. Once the bus is gone there is nobody to tell.
    pub(crate) fn settle(&mut self, hub: &Weak<Hub>) {
        for lane in mem::take(&mut self.lanes) {
            lane.fill(self);
        }
        self.wakers.drain(..).for_each(Waker::wake);
        if self.disconnected.is_empty() && self.slow.is_empty() {
            return;
        }
        let (disconnected, slow) = (mem::take(&mut self.disconnected), mem::take(&mut self.slow));
        let Some(hub) = hub.upgrade() else { return };
        for inbox in disconnected {
            hub.unsubscribe(&inbox);
        }
        for (inbox, stats) in slow {
            hub.report_slow(&inbox, stats);
        }
    }
}
