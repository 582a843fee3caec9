use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use ratebus_model::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// How often the wall clock is looked at while a token lasts: it may be set, and the process suspended.
const LOOK: Duration = Duration::from_secs(1);

/// Knows who is logged in: offered by the plugin that serves accounts, for plugins that let only such people in.
///
/// A service and no subject of the bus: a token is a secret, and whatever carries messages to other processes must not
/// carry it.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Checks an access token. It is read from the database each time, so a session that has ended is refused at once.
    async fn check(&self, token: &str) -> Result<SessionPass, NoSession>;

    /// Whether an access token is an administrator's, read from the database each time as well.
    async fn is_admin(&self, token: &str) -> Result<bool, NoSession>;
}

/// Why a token lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// It is no good token, has run out, or its session has ended. Which of them is nobody's business.
    #[error("a valid token is required")]
    Refused,
    /// It could not be checked; another time it may be.
    #[error("tokens cannot be checked at the moment; try again")]
    Unavailable,
}

/// A session with the token that was shown for it. Whoever holds it hears of its end.
#[derive(Debug, Clone)]
pub struct SessionPass {
    session: Arc<str>,
    expires_at: Timestamp,
    ended: Arc<CancellationToken>,
}

impl SessionPass {
    /// For those who offer [`Sessions`]: the session of that id, the end of the token, and what to cancel when the session
    /// ends. All passes of a session may share one `ended`; when only its maker holds it, nobody listens any more.
    pub fn new(session: &str, expires_at: Timestamp, ended: Arc<CancellationToken>) -> Self {
        Self { session: session.into(), expires_at, ended }
    }

    /// Until when the token is good, whatever becomes of the session.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether both are of one session.
    pub fn is_same_session(&self, other: &Self) -> bool {
        self.session == other.session
    }

    /// Resolves when the session has ended or the token has run out. Cancel-safe.
    pub async fn over(&self) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = passed(self.expires_at) => {}
        }
    }
}

/// Resolves when the wall clock has reached `time`.
async fn passed(time: Timestamp) {
    loop {
        let left = Clock.wall().age_at(time);
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn pass(session: &str, lasts: Duration) -> SessionPass {
        SessionPass::new(session, Clock.wall().plus(lasts), Arc::default())
    }

    #[tokio::test]
    async fn a_pass_ends_with_its_session_or_its_token() {
        let hour = Duration::from_hours(1);
        let first = pass("a", hour);
        assert!(first.over().now_or_never().is_none());
        first.ended.cancel();
        assert!(first.over().now_or_never().is_some());
        assert!(pass("a", Duration::ZERO).over().now_or_never().is_some());
        pass("a", Duration::from_millis(20)).over().await;
        assert!(first.is_same_session(&pass("a", hour)) && !first.is_same_session(&pass("b", hour)));
    }
}
