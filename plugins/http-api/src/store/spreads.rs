use std::{net::SocketAddr, time::Duration};

use ratebus_model::{Adjustment, Rule, Scope, Sides, Spread, Timestamp, Unit, decimal};
use tokio::{sync::OwnedMutexGuard, time::timeout};

use super::{
    Store, StoreError, User, markup,
    session::{Session, Write},
    statement::{Statement, sql},
};
use crate::caller::Caller;

/// How long a change waits for those before it.
const TURN: Duration = Duration::from_secs(2);

/// Who changes a spread, in which request and why.
#[derive(Clone, Copy)]
pub(crate) struct Actor<'a> {
    /// The account's id,
    pub(crate) id: &'a str,
    /// and its address.
    pub(crate) email: &'a str,
    pub(crate) request_id: Option<&'a str>,
    /// Unknown of a change that was scheduled.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) reason: Option<&'a str>,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(user: &'a User, caller: &'a Caller) -> Self {
        let request_id = caller.request_id.as_deref();
        Self { id: &user.id, email: &user.email, request_id, peer: caller.peer, reason: None }
    }

    pub(crate) fn because(self, reason: Option<&'a str>) -> Self {
        Self { reason, ..self }
    }
}

/// The columns of a [`Spread`].
type SpreadRow = (String, Option<String>, Option<String>, Option<String>, Option<String>, i64, String, i64);

impl Store {
    /// The latest revision of every scope that ever had a spread; removed ones have no rule.
    pub(crate) async fn spreads(&self) -> Result<Vec<Spread>, StoreError> {
        select(&mut self.read().await?).await
    }

    /// Begins a change. Other changes wait until it is published or dropped.
    ///
    /// Cancel-safe: dropped before [`SpreadWriter::commit`] it changes nothing.
    pub(crate) async fn write_spreads(&self) -> Result<SpreadWriter, StoreError> {
        let order = self.spread_order().await?;
        Ok(SpreadWriter { tx: self.write().await?, order })
    }

    /// Hands what is stored now to `publish`, between the changes of this process.
    pub(crate) async fn publish_stored(&self, publish: impl FnOnce(Vec<Spread>)) -> Result<(), StoreError> {
        let _order = self.spread_order().await?;
        publish(self.spreads().await?);
        Ok(())
    }

    async fn spread_order(&self) -> Result<OwnedMutexGuard<()>, StoreError> {
        timeout(TURN, self.spread_order.clone().lock_owned()).await.map_err(|_| StoreError::Late)
    }
}

/// A change of spreads in one transaction.
pub(crate) struct SpreadWriter {
    pub(super) tx: Write,
    order: OwnedMutexGuard<()>,
}

impl SpreadWriter {
    /// As [`Store::spreads`], at this moment.
    pub(crate) async fn spreads(&mut self) -> Result<Vec<Spread>, StoreError> {
        select(&mut self.tx).await
    }

    /// Writes `new` and what it replaces into the audit log.
    pub(crate) async fn put(&mut self, old: Option<&Spread>, new: &Spread, by: Actor<'_>) -> Result<(), StoreError> {
        self.upsert(new).await?;
        let text = |rule: Option<Rule>| markup::column(rule.map(|rule| rule.markup()));
        sql("INSERT INTO spread_audit \
             (scope, revision, actor_id, actor_email, old_spread, new_spread, request_id, changed_at, reason) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(new.scope.to_string())
        .bind(revision_column(new)?)
        .bind(by.id)
        .bind(by.email)
        .bind(text(old.and_then(|old| old.rule))?)
        .bind(text(new.rule)?)
        .bind(by.request_id)
        .bind(new.updated_at)
        .bind(by.reason)
        .execute(&mut self.tx)
        .await?;
        Ok(())
    }

    async fn upsert(&mut self, spread: &Spread) -> Result<(), StoreError> {
        let sides = spread.rule.map(|rule| rule.adjustments());
        let unit = |adjustment: Adjustment| unit_column(adjustment.unit);
        let value = |adjustment: Adjustment| adjustment.value.to_string();
        let revision = revision_column(spread)?;
        let values = |write: Statement| {
            write
                .bind(sides.map(|sides| unit(sides.buy)))
                .bind(sides.map(|sides| value(sides.buy)))
                .bind(sides.map(|sides| unit(sides.sell)))
                .bind(sides.map(|sides| value(sides.sell)))
                .bind(revision)
                .bind(&spread.updated_by)
                .bind(spread.updated_at)
                .bind(spread.scope.to_string())
        };
        let update = sql("UPDATE spreads SET buy_unit = $1, buy_value = $2, sell_unit = $3, sell_value = $4, \
                          revision = $5, updated_by = $6, updated_at = $7 WHERE scope = $8");
        let insert = sql("INSERT INTO spreads \
                          (buy_unit, buy_value, sell_unit, sell_value, revision, updated_by, updated_at, scope) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        if values(update).execute(&mut self.tx).await? == 0 {
            values(insert).execute(&mut self.tx).await?;
        }
        Ok(())
    }

    /// Commits and then publishes, before the next change can begin.
    ///
    /// Both happen even if the caller goes away meanwhile. A commit that fails publishes nothing. If it was a server's
    /// answer that was lost, the change may be stored all the same: nobody can tell from here, so nobody guesses. Whoever
    /// watches the database reads it back and publishes what is stored ([`Store::publish_stored`]).
    pub(crate) async fn commit(self, publish: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let Self { tx, order } = self;
        let committed = tokio::spawn(async move {
            tx.commit().await?;
            publish();
            drop(order);
            Ok(())
        });
        committed.await.unwrap_or(Err(StoreError::Sql(sqlx::Error::WorkerCrashed)))
    }
}

async fn select(from: &mut Session) -> Result<Vec<Spread>, StoreError> {
    let query = sql("SELECT scope, buy_unit, buy_value, sell_unit, sell_value, revision, updated_by, updated_at \
                     FROM spreads ORDER BY scope");
    query.all(from).await?.into_iter().map(from_row).collect()
}

fn from_row(row: SpreadRow) -> Result<Spread, StoreError> {
    let (scope, buy_unit, buy_value, sell_unit, sell_value, revision, updated_by, updated_at) = row;
    let corrupt = || StoreError::Corrupt("spread");
    let rule = match (buy_unit.zip(buy_value), sell_unit.zip(sell_value)) {
        (Some(buy), Some(sell)) => {
            let adjustment = |(unit, value): (String, String)| {
                let value = decimal::parse(&value).map_err(|_| corrupt())?;
                Ok::<_, StoreError>(Adjustment { unit: parse_unit(&unit)?, value })
            };
            Some(Rule::from_adjustments(Sides { buy: adjustment(buy)?, sell: adjustment(sell)? }))
        }
        _ => None,
    };
    Ok(Spread {
        scope: scope.parse::<Scope>().map_err(|_| corrupt())?,
        rule,
        revision: u64::try_from(revision).map_err(|_| corrupt())?,
        updated_by,
        updated_at: Timestamp::from_micros(updated_at),
    })
}

fn unit_column(unit: Unit) -> &'static str {
    match unit {
        Unit::Absolute => "absolute",
        Unit::Percent => "percent",
        Unit::Bps => "bps",
    }
}

fn parse_unit(text: &str) -> Result<Unit, StoreError> {
    [Unit::Absolute, Unit::Percent, Unit::Bps]
        .into_iter()
        .find(|&unit| unit_column(unit) == text)
        .ok_or(StoreError::Corrupt("unit"))
}

fn revision_column(spread: &Spread) -> Result<i64, StoreError> {
    i64::try_from(spread.revision).map_err(|_| StoreError::Corrupt("revision"))
}
