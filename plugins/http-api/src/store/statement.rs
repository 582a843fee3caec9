use std::borrow::Cow;

use ratebus_model::Timestamp;
use sqlx::{
    Arguments, AssertSqlSafe, Database, Encode, FromRow, Type, mysql::MySqlRow, postgres::PgRow, sqlite::SqliteRow,
};

use super::{
    StoreError,
    session::{Session, Write},
};

/// Begins a statement, whose placeholders are `$1 … $n`: each one once, and in order.
pub(super) fn sql(text: &'static str) -> Statement {
    Statement { text: text.into(), is_constant: true, values: Vec::new() }
}

/// A statement with the values of its placeholders, the same for every kind of database.
pub(super) struct Statement {
    text: Cow<'static, str>,
    /// Whether the text is always the same, so that the database may remember what it means.
    pub(super) is_constant: bool,
    values: Vec<Value>,
}

/// The value of a placeholder. There are no others: times are microseconds, yes and no are 1 and 0, ids and decimals
/// are text.
pub(super) enum Value {
    Text(Option<String>),
    Integer(i64),
}

/// What a row is read into: a tuple of `String`, `Option<String>` and `i64`, one for each column.
pub(super) trait Columns:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Columns for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl Statement {
    /// Gives the next placeholder its value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Ends the statement with a list of values in brackets, as `IN` takes it; never an empty one.
    pub(super) fn bind_list(mut self, list: &[String]) -> Self {
        let first = self.values.len() + 1;
        let places: Vec<String> = (first..first + list.len()).map(|place| format!("${place}")).collect();
        self.text = format!("{}({})", self.text, places.join(", ")).into();
        self.is_constant = false;
        self.values.extend(list.iter().map(Value::from));
        self
    }

    /// All rows.
    pub(super) async fn all<R: Columns>(self, on: &mut Session) -> Result<Vec<R>, StoreError> {
        on.fetch(self).await
    }

    /// The row, if there is one.
    pub(super) async fn optional<R: Columns>(self, on: &mut Session) -> Result<Option<R>, StoreError> {
        Ok(on.fetch(self).await?.into_iter().next())
    }

    /// The number that a `SELECT COUNT(*)` has for an answer.
    pub(super) async fn count(self, on: &mut Session) -> Result<i64, StoreError> {
        let (count,) = self.optional(on).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(count)
    }

    /// Changes rows; returns how many matched, whether they were changed by it or not.
    pub(super) async fn execute(self, on: &mut Write) -> Result<u64, StoreError> {
        on.execute(self).await
    }

    /// The text as a driver takes it.
    pub(super) fn text(&self) -> AssertSqlSafe<Cow<'static, str>> {
        AssertSqlSafe(self.text.clone())
    }

    /// The same for MySQL and MariaDB, which call every placeholder `?`.
    pub(super) fn with_question_marks(mut self) -> Self {
        let mut parts = self.text.split('$');
        let first = parts.next().unwrap_or_default().to_owned();
        let text = parts.fold(first, |text, part| text + "?" + part.trim_start_matches(|c: char| c.is_ascii_digit()));
        self.text = text.into();
        self
    }

    /// The values as a driver takes them.
    pub(super) fn arguments<DB: Database>(self) -> Result<DB::Arguments, sqlx::Error>
    where
        Option<String>: for<'t> Encode<'t, DB> + Type<DB>,
        i64: for<'t> Encode<'t, DB> + Type<DB>,
    {
        let mut arguments = DB::Arguments::default();
        for value in self.values {
            let added = match value {
                Value::Text(text) => arguments.add(text),
                Value::Integer(number) => arguments.add(number),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Integer(yes.into())
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(time.micros())
    }
}
