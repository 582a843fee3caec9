use std::{sync::Arc, time::Duration};

use ratebus_model::Message;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    effects::Effects,
    inbox::{Inbox, Offered},
};

/// A message whose publisher waits for room in a full inbox.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) message: Arc<Message>,
    /// Tells the publisher that the message is in.
    pub(crate) admit: oneshot::Sender<()>,
}

/// A publisher's place in the line of a full inbox. Dropping it takes the message back, and counts it as dropped.
#[derive(Debug)]
pub(crate) struct InLine {
    inbox: Arc<Inbox>,
    admitted: oneshot::Receiver<()>,
    deadline: Instant,
    /// Whether it is known what became of the message.
    settled: bool,
}

impl InLine {
    pub(crate) fn new(inbox: Arc<Inbox>, admitted: oneshot::Receiver<()>, timeout: Duration) -> Self {
        Self { inbox, admitted, deadline: deadline(timeout), settled: false }
    }

    /// When the publisher gives up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The name of the full subscription.
    pub(crate) fn name(&self) -> Arc<str> {
        self.inbox.name.clone()
    }

    /// Waits for room until the deadline.
    pub(crate) async fn wait(mut self, effects: &mut Effects) -> Offered {
        let waited = timeout_at(self.deadline, &mut self.admitted).await;
        self.settled = true;
        match waited {
            Ok(Ok(())) => Offered::Taken,
            Ok(Err(_)) => Offered::Closed,
            Err(_) => self.leave(Some(effects)),
        }
    }

    /// Leaves the line, unless the message was let in at the last moment.
    fn leave(&mut self, effects: Option<&mut Effects>) -> Offered {
        self.admitted.close();
        if self.admitted.try_recv().is_ok() {
            return Offered::Taken;
        }
        self.inbox.leave_line(effects);
        Offered::Full
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if !self.settled {
            self.leave(None);
        }
    }
}

/// The moment `timeout` from now; a time too long to be told counts as a year.
fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + YEAR)
}
