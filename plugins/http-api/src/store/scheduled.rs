use ratebus_model::{Adjustment, Rule, Scope, Sides, Spread, Timestamp};

use super::{
    Store, StoreError, markup,
    session::Session,
    spreads::{Actor, SpreadWriter},
    statement::sql,
};

/// A change of a spread that was made for a later time. It is never deleted, whatever becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct Scheduled {
    pub(crate) id: String,
    pub(crate) scope: Scope,
    /// The markups to come; `None` for a removal.
    pub(crate) markup: Option<Sides<Adjustment>>,
    pub(crate) effective_from: Timestamp,
    /// The account that made it.
    pub(crate) actor_id: String,
    /// The address of that account then.
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) made_at: Timestamp,
    /// The revision that the scope had then; `None` for no spread.
    pub(crate) base_revision: Option<u64>,
    pub(crate) state: ScheduledState,
}

/// What became of a change that was scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScheduledState {
    /// Its time has not come.
    Pending,
    /// It is this revision of its scope.
    Applied { revision: u64, at: Timestamp },
    /// This account did not want it any more.
    Cancelled { by: String, at: Timestamp },
}

/// How the cancelling of a change ended.
pub(crate) enum Cancelled {
    /// It will not come.
    Done(Scope),
    /// It came, or was cancelled before.
    Settled,
    /// There is none of this id.
    Missing,
}

/// The columns of a [`Scheduled`]. Zero stands for no revision and no time.
type ScheduledRow = (
    String,
    String,
    Option<String>,
    i64,
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    i64,
    String,
    i64,
    Option<String>,
    i64,
);

/// Begins a statement that reads rows for which a condition holds.
macro_rules! select {
    ($condition:literal) => {
        sql(concat!(
            "SELECT id, scope, new_spread, effective_from, actor_id, actor_email, reason, request_id, scheduled_at, \
             base_revision, state, applied_revision, settled_by, settled_at FROM scheduled_spreads WHERE ",
            $condition
        ))
    };
}

impl Scheduled {
    /// The rule to come; `None` for a removal.
    pub(crate) fn rule(&self) -> Option<Rule> {
        self.markup.map(Rule::from_markup)
    }

    /// Whoever made it, as the audit log is to have it.
    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor {
            id: &self.actor_id,
            email: &self.actor,
            request_id: self.request_id.as_deref(),
            peer: None,
            reason: self.reason.as_deref(),
        }
    }
}

impl Store {
    /// The time of the next change to come.
    pub(crate) async fn next_scheduled(&self) -> Result<Option<Timestamp>, StoreError> {
        let query = sql("SELECT effective_from FROM scheduled_spreads WHERE state = 'pending' \
                         ORDER BY effective_from LIMIT 1");
        let next: Option<(i64,)> = query.optional(&mut self.read().await?).await?;
        Ok(next.map(|(at,)| Timestamp::from_micros(at)))
    }

    /// The changes to come, in the order in which they will.
    pub(crate) async fn scheduled(&self) -> Result<Vec<Scheduled>, StoreError> {
        let query = select!("state = 'pending' ORDER BY effective_from, id");
        query.all(&mut self.read().await?).await?.into_iter().map(from_row).collect()
    }

    /// One change, whatever became of it.
    pub(crate) async fn one_scheduled(&self, id: &str) -> Result<Option<Scheduled>, StoreError> {
        select(&mut self.read().await?, id).await
    }

    /// Makes sure that a change does not come.
    pub(crate) async fn cancel_scheduled(&self, id: &str, by: &str, now: Timestamp) -> Result<Cancelled, StoreError> {
        let mut tx = self.write().await?;
        let Some(found) = select(&mut tx, id).await? else { return Ok(Cancelled::Missing) };
        if found.state != ScheduledState::Pending {
            return Ok(Cancelled::Settled);
        }
        let update =
            sql("UPDATE scheduled_spreads SET state = 'cancelled', settled_by = $1, settled_at = $2 WHERE id = $3");
        update.bind(by).bind(now).bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(Cancelled::Done(found.scope))
    }
}

impl SpreadWriter {
    /// How many changes of a scope are to come.
    pub(crate) async fn count_scheduled(&mut self, scope: Scope) -> Result<i64, StoreError> {
        let query = sql("SELECT COUNT(*) FROM scheduled_spreads WHERE state = 'pending' AND scope = $1");
        query.bind(scope.to_string()).count(&mut self.tx).await
    }

    /// Writes down a change to come.
    pub(crate) async fn schedule(&mut self, new: &Scheduled) -> Result<(), StoreError> {
        sql("INSERT INTO scheduled_spreads \
             (id, scope, new_spread, effective_from, actor_id, actor_email, reason, request_id, scheduled_at, \
             base_revision, state, applied_revision, settled_by, settled_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending', 0, NULL, 0)")
        .bind(&new.id)
        .bind(new.scope.to_string())
        .bind(markup::column(new.markup)?)
        .bind(new.effective_from)
        .bind(&new.actor_id)
        .bind(&new.actor)
        .bind(new.reason.as_deref())
        .bind(new.request_id.as_deref())
        .bind(new.made_at)
        .bind(i64::try_from(new.base_revision.unwrap_or(0)).map_err(|_| StoreError::Corrupt("revision"))?)
        .execute(&mut self.tx)
        .await?;
        Ok(())
    }

    /// The change whose time has come longest ago. While this transaction lasts nobody else can take it.
    pub(crate) async fn due(&mut self, now: Timestamp) -> Result<Option<Scheduled>, StoreError> {
        let query = select!("state = 'pending' AND effective_from <= $1 ORDER BY effective_from, id LIMIT 1");
        query.bind(now).optional(&mut self.tx).await?.map(from_row).transpose()
    }

    /// Notes that a change has come: as `new`.
    pub(crate) async fn applied(&mut self, id: &str, new: &Spread) -> Result<(), StoreError> {
        let update = sql("UPDATE scheduled_spreads SET state = 'applied', applied_revision = $1, settled_at = $2 \
                          WHERE id = $3");
        let revision = i64::try_from(new.revision).map_err(|_| StoreError::Corrupt("revision"))?;
        update.bind(revision).bind(new.updated_at).bind(id).execute(&mut self.tx).await?;
        Ok(())
    }
}

async fn select(from: &mut Session, id: &str) -> Result<Option<Scheduled>, StoreError> {
    let query = select!("id = $1");
    query.bind(id).optional(from).await?.map(from_row).transpose()
}

fn from_row(row: ScheduledRow) -> Result<Scheduled, StoreError> {
    let (id, scope, new, from, actor_id, actor, reason, request_id, made, base, state, applied, by, settled) = row;
    let corrupt = || StoreError::Corrupt("scheduled spread");
    let revision = |number: i64| u64::try_from(number).map_err(|_| corrupt());
    let at = Timestamp::from_micros(settled);
    let state = match (state.as_str(), by) {
        ("pending", None) => ScheduledState::Pending,
        ("applied", None) => ScheduledState::Applied { revision: revision(applied)?, at },
        ("cancelled", Some(by)) => ScheduledState::Cancelled { by, at },
        _ => return Err(corrupt()),
    };
    let base = revision(base)?;
    Ok(Scheduled {
        id,
        scope: scope.parse().map_err(|_| corrupt())?,
        markup: markup::from_column(new, corrupt)?,
        effective_from: Timestamp::from_micros(from),
        actor_id,
        actor,
        reason,
        request_id,
        made_at: Timestamp::from_micros(made),
        base_revision: (base > 0).then_some(base),
        state,
    })
}
