use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{board::Board, door::Door};

/// What every client's task shares.
pub(crate) struct Hub {
    pub(crate) board: Board,
    pub(crate) door: Door,
    /// How long a client may take nothing of what is pending before it is closed.
    pub(crate) stall_timeout: Duration,
    /// How many writes of quotes a second a client is sent at most; 0: as many as there are.
    pub(crate) max_rate: u32,
    /// Resolves when clients are to be sent away.
    pub(crate) stop: CancellationToken,
}
