use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use ratebus_sdk::ProblemDocument;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{board::Board, metrics::Meter};

/// What every client's task shares.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) board: Board,
    /// How long a client may take nothing of what is pending before it is closed.
    pub(crate) stall_timeout: Duration,
    /// Resolves when clients are to be sent away.
    pub(crate) stop: CancellationToken,
    places: Arc<Semaphore>,
    max_clients: u32,
}

impl Hub {
    pub(crate) fn new(max_clients: u32, stall_timeout: Duration, stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(max_clients as usize));
        Self { board: Board::new(), stall_timeout, stop, places, max_clients }
    }

    /// A client's place, or why it gets none.
    pub(crate) fn admit(&self, meter: &Meter) -> Result<Ticket, ProblemDocument> {
        let refuse = |detail| {
            meter.refused();
            ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        };
        if self.stop.is_cancelled() {
            return Err(refuse("The service is stopping."));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| refuse("As many clients as are allowed are connected."))?;
        meter.joined();
        Ok(Ticket { meter: meter.clone(), _place: place })
    }

    /// Resolves when the last client is gone.
    pub(crate) async fn empty(&self) {
        // An error means that the semaphore is closed, which it never is.
        let _all = self.places.acquire_many(self.max_clients).await;
    }
}

/// One client's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    meter: Meter,
    _place: OwnedSemaphorePermit,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.meter.gone();
    }
}
