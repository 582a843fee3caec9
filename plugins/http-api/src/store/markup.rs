//! The markup of a spread in one column, as JSON; NULL for none.

use ratebus_model::{Adjustment, Sides};

use super::StoreError;

/// The value of the column.
pub(super) fn column(markup: Option<Sides<Adjustment>>) -> Result<Option<String>, StoreError> {
    let text = markup.map(|markup| serde_json::to_string(&markup)).transpose();
    Ok(text.map_err(|error| sqlx::Error::Encode(error.into()))?)
}

/// The markup in the column; what cannot be read is `corrupt`.
pub(super) fn from_column(
    text: Option<String>,
    corrupt: impl Fn() -> StoreError,
) -> Result<Option<Sides<Adjustment>>, StoreError> {
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| corrupt())
}
