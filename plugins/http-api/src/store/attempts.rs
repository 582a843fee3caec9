use ratebus_model::Timestamp;

use super::{
    Store, StoreError,
    session::{Session, Write},
    statement::{Statement, sql},
};

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
        select(&mut self.read().await?, keys, now).await
    }

    /// Forgets the failed logins to an account, wherever they came from. Those of an address over all accounts stay.
    pub(crate) async fn forget_failed_logins(&self, account: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sql("DELETE FROM attempts WHERE counter = 'login' AND account = $1").bind(account).execute(&mut tx).await?;
        tx.commit().await
    }

    /// Begins a change of tallies, and forgets those that count no more. Other changes wait until it is committed or
    /// dropped.
    ///
    /// Cancel-safe: dropped before [`TallyWriter::commit`] it changes nothing.
    pub(crate) async fn write_tallies(&self, now: Timestamp) -> Result<TallyWriter, StoreError> {
        let mut tx = self.write().await?;
        sql("DELETE FROM attempts WHERE expires_at <= $1").bind(now).execute(&mut tx).await?;
        Ok(TallyWriter { tx, now })
    }
}

/// A change of tallies in one transaction.
pub(crate) struct TallyWriter {
    tx: Write,
    now: Timestamp,
}

impl TallyWriter {
    /// As [`Store::tallies`].
    pub(crate) async fn tallies(&mut self, keys: impl Iterator<Item = &Key>) -> Result<Vec<Option<Tally>>, StoreError> {
        select(&mut self.tx, keys, self.now).await
    }

    pub(crate) async fn put(&mut self, key: &Key, tally: Tally) -> Result<(), StoreError> {
        let values = |write: Statement| {
            let write = write.bind(tally.tries).bind(tally.last_at).bind(tally.expires_at);
            write.bind(key.counter).bind(&key.account).bind(&key.address)
        };
        let update = sql("UPDATE attempts SET tries = $1, last_at = $2, expires_at = $3 \
                          WHERE counter = $4 AND account = $5 AND address = $6");
        let insert = sql("INSERT INTO attempts (tries, last_at, expires_at, counter, account, address) \
                          VALUES ($1, $2, $3, $4, $5, $6)");
        if values(update).execute(&mut self.tx).await? == 0 {
            values(insert).execute(&mut self.tx).await?;
        }
        Ok(())
    }

    /// Counts one attempt less.
    pub(crate) async fn take_back(&mut self, key: &Key) -> Result<(), StoreError> {
        let text = "UPDATE attempts SET tries = tries - 1 \
                    WHERE counter = $1 AND account = $2 AND address = $3 AND tries > 0";
        self.execute(text, key).await
    }

    pub(crate) async fn remove(&mut self, key: &Key) -> Result<(), StoreError> {
        self.execute("DELETE FROM attempts WHERE counter = $1 AND account = $2 AND address = $3", key).await
    }

    async fn execute(&mut self, text: &'static str, key: &Key) -> Result<(), StoreError> {
        sql(text).bind(key.counter).bind(&key.account).bind(&key.address).execute(&mut self.tx).await?;
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await
    }
}

async fn select(
    from: &mut Session,
    keys: impl Iterator<Item = &Key>,
    now: Timestamp,
) -> Result<Vec<Option<Tally>>, StoreError> {
    let mut tallies = Vec::new();
    for key in keys {
        let query = sql("SELECT tries, last_at, expires_at FROM attempts \
                         WHERE counter = $1 AND account = $2 AND address = $3 AND expires_at > $4");
        let query = query.bind(key.counter).bind(&key.account).bind(&key.address);
        let row = query.bind(now).optional(from).await?;
        tallies.push(row.map(from_row).transpose()?);
    }
    Ok(tallies)
}

fn from_row((tries, last_at, expires_at): (i64, i64, i64)) -> Result<Tally, StoreError> {
    let tries = u32::try_from(tries).map_err(|_| StoreError::Corrupt("number of attempts"))?;
    Ok(Tally { tries, last_at: Timestamp::from_micros(last_at), expires_at: Timestamp::from_micros(expires_at) })
}
