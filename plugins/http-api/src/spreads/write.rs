use std::sync::Arc;

use bytes::Bytes;
use ratebus_model::{Payload, Rule, Scope, Spread, Subject, Timestamp};
use ratebus_sdk::Context;
use tracing::field::display;

use super::check::{self, Refusal};
use crate::{
    accounts::masked,
    pair,
    state::{App, Unavailable},
    store::{Actor, Store, StoreError},
};

/// Why nothing was changed.
#[derive(Debug)]
pub(super) enum ChangeError {
    /// The database failed.
    Unavailable(Unavailable),
    /// The request's condition does not hold; with the revision that is set.
    Condition(Option<u64>),
    /// There is none to remove.
    Missing,
    /// The rule would give prices that nobody may see.
    Refused(Refusal),
    /// As many changes are to come as can be.
    TooMany,
}

/// What was changed.
pub(super) struct Changed {
    pub(super) spreads: Vec<Spread>,
    /// None of the scopes had a spread before.
    pub(super) created: bool,
}

/// Sets `rule` for all `scopes`, or removes theirs for `None`, if `condition` holds for the revision each has (`None`
/// for no spread). Committed, audited and published together or not at all.
pub(super) async fn change(
    app: &App,
    actor: Actor<'_>,
    scopes: &[Scope],
    rule: Option<Rule>,
    condition: impl Fn(Option<u64>) -> bool + Send,
) -> Result<Changed, ChangeError> {
    let failed = |error: StoreError| ChangeError::Unavailable(app.refuse(&error));
    let backend = app.backend().map_err(ChangeError::Unavailable)?;
    let mut writer = backend.store.write_spreads().await.map_err(failed)?;
    let before = writer.spreads().await.map_err(failed)?;
    let mut after = Vec::new();
    let now = app.ctx.clock().wall();
    for &scope in scopes {
        let old = before.iter().find(|spread| spread.scope == scope);
        let new = next(now, scope, old, rule, actor);
        judge(app, old, &new, &before, backend.max_markup_percent, &condition)?;
        writer.put(old, &new, actor).await.map_err(failed)?;
        after.push(new);
    }
    writer.commit(tell(app, after.clone(), actor)).await.map_err(failed)?;
    let was_set = |scope: &Scope| before.iter().any(|spread| spread.scope == *scope && spread.rule.is_some());
    Ok(Changed { spreads: after, created: !scopes.iter().any(was_set) })
}

/// What follows `old`.
pub(super) fn next(now: Timestamp, scope: Scope, old: Option<&Spread>, rule: Option<Rule>, by: Actor<'_>) -> Spread {
    let revision = old.map_or(0, |old| old.revision) + 1;
    Spread { scope, rule, revision, updated_by: by.email.to_owned(), updated_at: now }
}

/// The revision of a spread that is set.
pub(super) fn revision(spread: Option<&Spread>) -> Option<u64> {
    spread.filter(|spread| spread.rule.is_some()).map(|spread| spread.revision)
}

/// Whether `new` may take the place of `old`.
pub(super) fn judge(
    app: &App,
    old: Option<&Spread>,
    new: &Spread,
    before: &[Spread],
    max_markup_percent: u32,
    condition: impl Fn(Option<u64>) -> bool,
) -> Result<(), ChangeError> {
    let revision = revision(old);
    if !condition(revision) {
        return Err(ChangeError::Condition(revision));
    }
    match &new.rule {
        Some(rule) => check::check(app, new.scope, rule, before, max_markup_percent).map_err(ChangeError::Refused),
        None if revision.is_none() => Err(ChangeError::Missing),
        None => Ok(()),
    }
}

/// Tells the log and the bus of what was committed, even if whoever asked for it has left.
pub(super) fn tell(app: &App, changed: Vec<Spread>, actor: Actor<'_>) -> impl FnOnce() + Send + use<> {
    let (ctx, account) = (app.ctx.clone(), masked(actor.email));
    let (peer, request_id) = (actor.peer, actor.request_id.map(str::to_owned));
    move || {
        for spread in changed {
            metrics::counter!("ratebus_spread_changes_total").increment(1);
            let (scope, revision, removed) = (spread.scope, spread.revision, spread.rule.is_none());
            let (event, peer) = ("spread_changed", peer.map(display));
            tracing::info!(event, %scope, revision, removed, account, peer, request_id, "spread changed");
            publish(&ctx, spread);
        }
        announce(&ctx);
    }
}

/// Tells all instances that there is something new in the database. Nothing but that: what is new they read there, so
/// nobody who can write to their bus can set a spread.
fn announce(ctx: &Context) {
    let subject = Subject::spreads_changed();
    if let Err(error) = ctx.try_publish(&subject, Bytes::new()) {
        tracing::debug!(%subject, %error, "not delivered to everybody");
    }
}

/// Tells the bus of a spread as the database has it; last values keep it.
pub(crate) fn publish(ctx: &Context, spread: Spread) {
    let subject = Subject::spread(spread.scope);
    if let Err(error) = ctx.try_publish(&subject, spread) {
        tracing::warn!(%subject, %error, "a spread was not delivered to everybody");
    }
}

/// Tells the bus of stored spreads that are newer than what it knows: another instance has set them, or the answer to
/// the commit of one got lost.
///
/// # Errors
/// [`StoreError::Replaced`] if the database lacks spreads that are in use.
pub(crate) async fn catch_up(app: &App, store: &Store) -> Result<(), StoreError> {
    let in_use = published(&app.ctx);
    let stored = store.spreads().await?;
    if lacks(&stored, &in_use) {
        return Err(StoreError::Replaced);
    }
    if stored.iter().all(|spread| in_use.iter().any(|known| **known == *spread)) {
        return Ok(());
    }
    // One that was just committed here may be on its way to the bus, so it is looked at again.
    let is_new = |spread: &Spread| published(&app.ctx).iter().all(|known| **known != *spread);
    store
        .publish_stored(|spreads| spreads.into_iter().filter(is_new).for_each(|spread| publish(&app.ctx, spread)))
        .await
}

/// Whether `stored`, which was read after `in_use`, is older: some spread in use, or one that followed it, is not there.
/// Whoever took it from the bus would keep it, and take every change for older until the revisions have caught up.
pub(crate) fn lacks(stored: &[Spread], in_use: &[Arc<Spread>]) -> bool {
    let follows =
        |now: &Spread, used: &Spread| now.scope == used.scope && (now.revision > used.revision || now == used);
    in_use.iter().any(|used| !stored.iter().any(|now| follows(now, used)))
}

/// The spreads that the bus knows.
pub(crate) fn published(ctx: &Context) -> Vec<Arc<Spread>> {
    pair::last(ctx, "spreads.*", |payload| match payload {
        Payload::Spread(spread) => Some(Arc::clone(spread)),
        _ => None,
    })
}

/// Tells the bus that every stored spread has been published.
pub(crate) fn publish_known(ctx: &Context) {
    let subject = Subject::spreads_known();
    if let Err(error) = ctx.try_publish(&subject, Bytes::new()) {
        tracing::warn!(%subject, %error, "not delivered to everybody");
    }
}
