//! Who is logged in, as the test says: what `sink/http-api` offers, without a database.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use ratebus_sdk::{Clock, NoSession, SessionPass, Sessions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(crate) struct Logins {
    tokens: Mutex<BTreeMap<&'static str, SessionPass>>,
    sessions: Mutex<BTreeMap<&'static str, Arc<CancellationToken>>>,
    away: AtomicBool,
    delay: Mutex<Duration>,
}

impl Logins {
    /// A token of a session that is good for so long.
    pub(crate) fn add(&self, session: &'static str, token: &'static str, lasts: Duration) {
        let ended = self.sessions.lock().unwrap().entry(session).or_default().clone();
        let pass = SessionPass::new(session, Clock.wall().plus(lasts), ended);
        self.tokens.lock().unwrap().insert(token, pass);
    }

    /// Ends a session.
    pub(crate) fn end(&self, session: &str) {
        self.sessions.lock().unwrap()[session].cancel();
        self.tokens.lock().unwrap().clear();
    }

    /// From now on nobody can tell who is logged in, or can again.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// From now on it takes this long to tell.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }
}

#[async_trait]
impl Sessions for Logins {
    async fn check(&self, token: &str) -> Result<SessionPass, NoSession> {
        let delay = *self.delay.lock().unwrap();
        sleep(delay).await;
        if self.away.load(Ordering::Relaxed) {
            return Err(NoSession::Unavailable);
        }
        self.tokens.lock().unwrap().get(token).cloned().ok_or(NoSession::Refused)
    }

    /// That of the session "root" is one.
    async fn is_admin(&self, token: &str) -> Result<bool, NoSession> {
        let root = SessionPass::new("root", Clock.wall(), Arc::default());
        Ok(self.check(token).await?.is_same_session(&root))
    }
}
