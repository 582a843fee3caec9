use ratebus_model::{Adjustment, Scope, Sides, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Store, StoreError, markup, statement::sql};

/// A change of a spread, as the audit log has it and the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(description = "A change of a spread.")]
pub(crate) struct SpreadChange {
    pub(crate) revision: u64,
    /// The address of the account at that time.
    pub(crate) actor: String,
    /// The markups before; `null` for no spread.
    #[schema(required)]
    pub(crate) old: Option<Sides<Adjustment>>,
    /// The markups since; `null` for a removal.
    #[schema(required)]
    pub(crate) new: Option<Sides<Adjustment>>,
    #[schema(required)]
    pub(crate) reason: Option<String>,
    #[schema(required)]
    pub(crate) request_id: Option<String>,
    pub(crate) time: Timestamp,
}

/// The columns of a [`SpreadChange`].
type ChangeRow = (i64, String, Option<String>, Option<String>, Option<String>, Option<String>, i64);

impl Store {
    /// At most `limit` changes of a scope, from the revision `newest` backwards.
    pub(crate) async fn spread_changes(
        &self,
        scope: Scope,
        newest: u64,
        limit: u32,
    ) -> Result<Vec<SpreadChange>, StoreError> {
        let query = sql("SELECT revision, actor_email, old_spread, new_spread, reason, request_id, changed_at \
                         FROM spread_audit WHERE scope = $1 AND revision <= $2 ORDER BY revision DESC LIMIT $3");
        let query = query.bind(scope.to_string()).bind(i64::try_from(newest).unwrap_or(i64::MAX)).bind(limit);
        query.all(&mut self.read().await?).await?.into_iter().map(from_row).collect()
    }
}

fn from_row(row: ChangeRow) -> Result<SpreadChange, StoreError> {
    let (revision, actor, old, new, reason, request_id, changed_at) = row;
    let corrupt = || StoreError::Corrupt("audit entry");
    Ok(SpreadChange {
        revision: u64::try_from(revision).map_err(|_| corrupt())?,
        actor,
        old: markup::from_column(old, corrupt)?,
        new: markup::from_column(new, corrupt)?,
        reason,
        request_id,
        time: Timestamp::from_micros(changed_at),
    })
}
