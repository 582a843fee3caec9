use axum::extract::{Path, rejection::PathRejection};
use uuid::Uuid;

/// The id of something out of the path. What is no UUID is the id of nothing, not a malformed request.
pub(crate) type IdPath = Result<Path<String>, PathRejection>;

/// The id as the database has it.
pub(crate) fn parse(path: IdPath) -> Option<String> {
    let Path(text) = path.ok()?;
    Some(text.parse::<Uuid>().ok()?.to_string())
}
