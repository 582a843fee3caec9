//! Changes for a later time: made, kept, and put into effect when it has come.
//!
//! They are in the database alone, and each instance looks there for what is due. Whichever has the write lock first
//! makes it the next revision of its scope and notes that in the same transaction, so it happens once, whoever is killed
//! meanwhile. The wall clock decides what is due; what has happened stays, wherever the clock is set.

use std::time::Duration;

use ratebus_model::{Rule, Scope, Timestamp};
use ratebus_sdk::LogLimit;
use tokio::time::sleep;
use tracing::field::display;
use uuid::Uuid;

use super::write::{ChangeError, judge, next, revision, tell};
use crate::{
    accounts::masked,
    state::App,
    store::{Actor, Scheduled, ScheduledState, Store, StoreError},
};

/// How far ahead a change can be made.
pub(super) const FARTHEST: Duration = Duration::from_hours(365 * 24);
/// How many changes of a scope can be to come.
pub(super) const MOST: i64 = 100;
/// How often the database is looked at for changes that other instances took in.
const CADENCE: Duration = Duration::from_millis(400);

/// Writes down a change to come, if it could be made now and `condition` holds now.
pub(super) async fn schedule(
    app: &App,
    actor: Actor<'_>,
    scope: Scope,
    rule: Option<Rule>,
    effective_from: Timestamp,
    condition: impl Fn(Option<u64>) -> bool + Send,
) -> Result<Scheduled, ChangeError> {
    let failed = |error: StoreError| ChangeError::Unavailable(app.refuse(&error));
    let backend = app.backend().map_err(ChangeError::Unavailable)?;
    let mut writer = backend.store.write_spreads().await.map_err(failed)?;
    let before = writer.spreads().await.map_err(failed)?;
    let old = before.iter().find(|spread| spread.scope == scope);
    let now = app.ctx.clock().wall();
    judge(app, old, &next(now, scope, old, rule, actor), &before, backend.max_markup_percent, &condition)?;
    if writer.count_scheduled(scope).await.map_err(failed)? >= MOST {
        return Err(ChangeError::TooMany);
    }
    let new = Scheduled {
        id: Uuid::now_v7().to_string(),
        scope,
        markup: rule.map(|rule| rule.markup()),
        effective_from,
        actor_id: actor.id.to_owned(),
        actor: actor.email.to_owned(),
        reason: actor.reason.map(str::to_owned),
        request_id: actor.request_id.map(str::to_owned),
        made_at: now,
        base_revision: revision(old),
        state: ScheduledState::Pending,
    };
    writer.schedule(&new).await.map_err(failed)?;
    writer.commit(noted(&new, actor)).await.map_err(failed)?;
    Ok(new)
}

/// Tells the log of a change to come.
fn noted(new: &Scheduled, actor: Actor<'_>) -> impl FnOnce() + Send + use<> {
    let (id, scope, effective_from) = (new.id.clone(), new.scope, new.effective_from);
    let (account, peer, request_id) = (masked(actor.email), actor.peer, new.request_id.clone());
    move || {
        let (event, peer) = ("spread_scheduled", peer.map(display));
        tracing::info!(event, id, %scope, %effective_from, account, peer, request_id, "spread scheduled");
    }
}

/// Puts into effect what is due, now and whenever something is, for ever.
pub(crate) async fn keep_schedule(app: &App) {
    let mut log = LogLimit::default();
    loop {
        let wait = match app.backend() {
            Ok(backend) => apply_due(app, &backend.store).await.unwrap_or_else(|error| {
                app.refuse(&error);
                if log.allows(app.ctx.clock().now()) {
                    tracing::warn!(%error, "changes of spreads that are due cannot be looked up; it is tried again");
                }
                CADENCE
            }),
            Err(_) => CADENCE,
        };
        sleep(wait.min(CADENCE)).await;
    }
}

/// Puts into effect what is due; how long it is until something is again.
pub(crate) async fn apply_due(app: &App, store: &Store) -> Result<Duration, StoreError> {
    loop {
        // Looked at first without the lock that writers need.
        let Some(at) = store.next_scheduled().await? else { return Ok(CADENCE) };
        let wait = app.ctx.clock().wall().age_at(at);
        if !wait.is_zero() {
            return Ok(wait);
        }
        apply_next(app, store).await?;
    }
}

/// Puts into effect the change that is due first, if another instance has not. It was judged when it was made.
async fn apply_next(app: &App, store: &Store) -> Result<(), StoreError> {
    let mut writer = store.write_spreads().await?;
    let now = app.ctx.clock().wall();
    let Some(due) = writer.due(now).await? else { return Ok(()) };
    let before = writer.spreads().await?;
    let old = before.iter().find(|spread| spread.scope == due.scope);
    let new = next(now, due.scope, old, due.rule(), due.actor());
    writer.put(old, &new, due.actor()).await?;
    writer.applied(&due.id, &new).await?;
    writer.commit(tell(app, vec![new], due.actor())).await
}
