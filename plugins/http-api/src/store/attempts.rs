use ratebus_model::Timestamp;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{Store, StoreError};

/// What is counted, and whose attempts are counted together: an empty account or address stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) counter: &'static str,
    pub(crate) account: String,
    pub(crate) address: String,
}

/// How often there was an attempt, and until when that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) tries: u32,
    pub(crate) last_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

impl Store {
    /// The tally of each key, in their order, as far as they count now.
    pub(crate) async fn tallies(
        &self,
        keys: impl Iterator<Item = &Key>,
        now: Timestamp,
    ) -> Result<Vec<Option<Tally>>, StoreError> {
        let mut connection = self.read().await?.acquire().await?;
        select(&mut connection, keys, now).await
    }

    /// Forgets the failed logins to an account, wherever they came from. Those of an address over all accounts stay.
    pub(crate) async fn forget_failed_logins(&self, account: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let delete = sqlx::query("DELETE FROM attempts WHERE counter = 'login' AND account = $1");
        delete.bind(account).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Begins a change of tallies, and forgets those that count no more. Other changes wait until it is committed or
    /// dropped.
    ///
    /// Cancel-safe: dropped before [`TallyWriter::commit`] it changes nothing.
    pub(crate) async fn write_tallies(&self, now: Timestamp) -> Result<TallyWriter, StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM attempts WHERE expires_at <= $1").bind(now.micros()).execute(&mut *tx).await?;
        Ok(TallyWriter { tx, now })
    }
}

/// A change of tallies in one transaction.
pub(crate) struct TallyWriter {
    tx: Transaction<'static, Sqlite>,
    now: Timestamp,
}

impl TallyWriter {
    /// As [`Store::tallies`].
    pub(crate) async fn tallies(&mut self, keys: impl Iterator<Item = &Key>) -> Result<Vec<Option<Tally>>, StoreError> {
        select(&mut self.tx, keys, self.now).await
    }

    pub(crate) async fn put(&mut self, key: &Key, tally: Tally) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO attempts (counter, account, address, tries, last_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (counter, account, address) DO UPDATE SET \
             tries = excluded.tries, last_at = excluded.last_at, expires_at = excluded.expires_at",
        )
        .bind(key.counter)
        .bind(&key.account)
        .bind(&key.address)
        .bind(i64::from(tally.tries))
        .bind(tally.last_at.micros())
        .bind(tally.expires_at.micros())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Counts one attempt less.
    pub(crate) async fn take_back(&mut self, key: &Key) -> Result<(), StoreError> {
        let sql = "UPDATE attempts SET tries = tries - 1 \
                   WHERE counter = $1 AND account = $2 AND address = $3 AND tries > 0";
        self.execute(sql, key).await
    }

    pub(crate) async fn remove(&mut self, key: &Key) -> Result<(), StoreError> {
        self.execute("DELETE FROM attempts WHERE counter = $1 AND account = $2 AND address = $3", key).await
    }

    async fn execute(&mut self, sql: &'static str, key: &Key) -> Result<(), StoreError> {
        sqlx::query(sql).bind(key.counter).bind(&key.account).bind(&key.address).execute(&mut *self.tx).await?;
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

async fn select(
    from: &mut SqliteConnection,
    keys: impl Iterator<Item = &Key>,
    now: Timestamp,
) -> Result<Vec<Option<Tally>>, StoreError> {
    let sql = "SELECT tries, last_at, expires_at FROM attempts \
               WHERE counter = $1 AND account = $2 AND address = $3 AND expires_at > $4";
    let mut tallies = Vec::new();
    for key in keys {
        let query = sqlx::query_as::<_, (i64, i64, i64)>(sql).bind(key.counter).bind(&key.account).bind(&key.address);
        let row = query.bind(now.micros()).fetch_optional(&mut *from).await?;
        tallies.push(row.map(from_row).transpose()?);
    }
    Ok(tallies)
}

fn from_row((tries, last_at, expires_at): (i64, i64, i64)) -> Result<Tally, StoreError> {
    let tries = u32::try_from(tries).map_err(|_| StoreError::Corrupt("number of attempts"))?;
    Ok(Tally { tries, last_at: Timestamp::from_micros(last_at), expires_at: Timestamp::from_micros(expires_at) })
}
