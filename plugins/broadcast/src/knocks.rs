//! How a loop hears which of its many connections can go on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use tokio::sync::Notify;

/// The connections of one loop that something happened to. Each stands here once, so there are no more than connections.
#[derive(Debug, Default)]
pub(crate) struct Knocks {
    waiting: Mutex<Vec<usize>>,
    some: Notify,
}

/// What wakes one connection: its waker.
#[derive(Debug)]
pub(crate) struct Knock {
    index: usize,
    is_waiting: AtomicBool,
    knocks: Arc<Knocks>,
}

impl Knocks {
    /// For the connection at `index`.
    pub(crate) fn of(self: &Arc<Self>, index: usize) -> Arc<Knock> {
        Arc::new(Knock { index, is_waiting: AtomicBool::new(false), knocks: Arc::clone(self) })
    }

    /// Resolves when there is a knock. Cancel-safe.
    pub(crate) async fn some(&self) {
        self.some.notified().await;
    }

    /// Who knocked: `into` is emptied and filled, so that neither vector is made anew each time.
    pub(crate) fn take(&self, into: &mut Vec<usize>) {
        into.clear();
        std::mem::swap(into, &mut self.waiting());
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knock {
    /// From now on another knock counts: to be called before looking at the connection.
    pub(crate) fn answer(&self) {
        // Not a store: whose knock did not count any more is to be seen by that look, and a store may come after it.
        self.is_waiting.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_waiting.swap(true, Ordering::AcqRel) {
            self.knocks.waiting().push(self.index);
            self.knocks.some.notify_one();
        }
    }
}
