//! Who is connected to a live stream hears of the end of their session, wherever it was ended: instances share nothing
//! but the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use ratebus_sdk::{NoSession, SessionPass, Sessions};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{AuthError, NotAdmin, QuotaSlot, admin};
use crate::{
    caller::Caller,
    state::{App, Unavailable},
};

/// How often the database is asked which of them go on. With what the answer takes it stays below a second.
const CADENCE: Duration = Duration::from_millis(400);
/// How many it is asked about at once.
const AT_ONCE: usize = 500;
/// How many sessions are watched at most: far more than there can be clients.
const MOST: usize = 100_000;

/// The sessions of those who are connected, by id. One is watched while somebody holds a pass of it.
pub(crate) struct Watch {
    /// `None` once nobody looks any more.
    sessions: Mutex<Option<HashMap<String, Weak<CancellationToken>>>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { sessions: Mutex::new(Some(HashMap::new())) }
    }
}

impl Watch {
    /// What is cancelled when the session ends; `None` if it cannot be watched.
    fn add(&self, id: &str) -> Option<Arc<CancellationToken>> {
        let mut guard = self.lock();
        let sessions = guard.as_mut()?;
        if let Some(ended) = sessions.get(id).and_then(Weak::upgrade) {
            return Some(ended);
        }
        if sessions.len() >= MOST {
            return None;
        }
        let ended = Arc::default();
        sessions.insert(id.to_owned(), Arc::downgrade(&ended));
        Some(ended)
    }

    /// Those that somebody is connected with.
    fn ids(&self) -> Vec<String> {
        let mut guard = self.lock();
        let Some(sessions) = guard.as_mut() else { return Vec::new() };
        sessions.retain(|_, ended| ended.strong_count() > 0);
        sessions.keys().cloned().collect()
    }

    fn end(&self, id: &str) {
        let removed = self.lock().as_mut().and_then(|sessions| sessions.remove(id));
        if let Some(ended) = removed.and_then(|ended| ended.upgrade()) {
            ended.cancel();
        }
    }

    /// Watches no more. Returns those that nobody watches now.
    fn close(&self) -> impl Iterator<Item = Arc<CancellationToken>> {
        self.lock().take().into_iter().flatten().filter_map(|(_, ended)| ended.upgrade())
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<String, Weak<CancellationToken>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the watch, however it comes.
struct Closing<'a>(&'a App);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let unwatched = self.0.watch.close();
        // When everything stops, clients are told so by whom they are connected to. Otherwise the plugin has failed, and
        // what nobody watches any more must not go on.
        if !self.0.ctx.cancel_token().is_cancelled() {
            unwatched.for_each(|ended| ended.cancel());
        }
    }
}

#[async_trait]
impl Sessions for App {
    async fn check(&self, token: &str) -> Result<SessionPass, NoSession> {
        let backend = self.backend().map_err(|Unavailable| NoSession::Unavailable)?;
        let now = self.ctx.clock().wall();
        let claims = backend.tokens.check(token, now).filter(|claims| claims.expires_at() > now);
        let claims = claims.ok_or(NoSession::Refused)?;
        match backend.store.session_user(&claims.sid, &claims.sub, now).await {
            // Ended meanwhile, it is found out with the next look.
            Ok(Some(_)) => self.watch.add(&claims.sid).ok_or(NoSession::Unavailable),
            Ok(None) => Err(NoSession::Refused),
            Err(error) => {
                self.refuse(&error);
                Err(NoSession::Unavailable)
            }
        }
        .map(|ended| SessionPass::new(&claims.sid, claims.expires_at(), ended))
    }

    async fn is_admin(&self, token: &str) -> Result<bool, NoSession> {
        let token = Some(token.to_owned());
        let caller = Caller { request_id: None, peer: None, token, quota: QuotaSlot::default() };
        match admin(self, &caller).await {
            Ok(_) => Ok(true),
            Err(NotAdmin::NotAllowed) => Ok(false),
            Err(NotAdmin::NotLoggedIn(AuthError::NotLoggedIn)) => Err(NoSession::Refused),
            Err(NotAdmin::NotLoggedIn(AuthError::Unavailable(_))) => Err(NoSession::Unavailable),
        }
    }
}

/// Tells those who are connected when their session ends, for ever. While the database is away they stay, until their
/// tokens have run out.
pub(crate) async fn watch(app: &App) {
    let _closing = Closing(app);
    let mut cadence = interval(CADENCE);
    cadence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watched = metrics::gauge!("ratebus_watched_sessions");
    loop {
        cadence.tick().await;
        let ids = app.watch.ids();
        #[expect(clippy::cast_precision_loss, reason = "a gauge; they are fewer than 2^53")]
        watched.set(ids.len() as f64);
        for ids in ids.chunks(AT_ONCE) {
            if let Err(Unavailable) = end_those_over(app, ids).await {
                break;
            }
        }
    }
}

async fn end_those_over(app: &App, ids: &[String]) -> Result<(), Unavailable> {
    let live = app.backend()?.store.live_sessions(ids, app.ctx.clock().wall()).await;
    let live = live.map_err(|error| app.refuse(&error))?;
    for id in ids.iter().filter(|&id| !live.contains(id)) {
        app.watch.end(id);
    }
    Ok(())
}
