#[cfg(test)]
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use ratebus_sdk::testkit::RecordingHost;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::{board::Board, door::Door, leave::Leave};
#[cfg(test)]
use crate::{door::Access, places::Places};

/// What every client's task shares.
pub(crate) struct Hub {
    pub(crate) board: Board,
    pub(crate) door: Door,
    /// How long a client may take nothing of what is pending before it is closed.
    pub(crate) stall_timeout: Duration,
    /// How many writes of quotes a second a client is sent at most; 0: as many as there are.
    pub(crate) max_rate: u32,
    /// Resolves when clients are to be sent away,
    pub(crate) stop: CancellationToken,
    /// each at its turn.
    pub(crate) leave: Leave,
}

impl Hub {
    /// Resolves when the server stops and it is the turn of who has a place of so many. Cancel-safe.
    pub(crate) async fn sends_away(&self, place: u32, of: u32) {
        self.stop.cancelled().await;
        sleep_until(self.leave.turn(place, of).into()).await;
    }
}

#[cfg(test)]
impl Hub {
    /// One whose rates are for everybody and whose clients have all the time there is.
    pub(crate) fn for_tests(places: Arc<Places>, max_rate: u32, stop: CancellationToken) -> Arc<Self> {
        let ctx = RecordingHost::new().context("broadcast");
        let door = Door::new(ctx, Access::Public, places, stop.clone());
        let (board, leave) = (Board::new(), Leave::default());
        Arc::new(Self { board, door, stall_timeout: Duration::MAX, max_rate, stop, leave })
    }
}
