use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal that asks the process to read its config again.
pub(crate) struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Starts listening: from now on the signal no longer ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for one; several that were not waited for are one. Cancel-safe.
    pub(crate) async fn received(&mut self) {
        self.0.recv().await;
    }
}

/// The signals that ask the process to stop.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Starts listening: from now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one. Cancel-safe.
    pub(crate) async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
