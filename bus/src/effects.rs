use std::{sync::Arc, task::Waker};

use crate::{bus::Hub, inbox::Inbox, subscription::Stats};

/// What deliveries bring about and what must not happen under their locks: waking readers takes microseconds, and a
/// report is itself a publication.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Readers that slept.
    pub(crate) wakers: Vec<Waker>,
    /// Inboxes that were closed because they were full.
    pub(crate) disconnected: Vec<Arc<Inbox>>,
    /// Inboxes that dropped messages, and whose last report is long enough ago.
    pub(crate) slow: Vec<(Arc<Inbox>, Stats)>,
}

impl Effects {
    /// Brings them about. The caller holds no lock.
    pub(crate) fn settle(&mut self, hub: &Hub) {
        self.wakers.drain(..).for_each(Waker::wake);
        for inbox in self.disconnected.drain(..) {
            hub.unsubscribe(&inbox);
        }
        for (inbox, stats) in self.slow.drain(..) {
            hub.report_slow(&inbox, stats);
        }
    }
}
