//! For whoever wraps documented routes: what the wrapping does belongs into their document too.

use utoipa::openapi::{
    PathItem, RefOr, Response,
    path::{Operation, Paths},
};

/// The operations of these paths.
pub fn operations(paths: &mut Paths) -> impl Iterator<Item = &mut Operation> {
    paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, put, post, delete, patch, .. } = item;
        [get, put, post, delete, patch].into_iter().flatten()
    })
}

/// Every answer that an operation describes, by its status.
pub fn answers(operation: &mut Operation) -> impl Iterator<Item = (&str, &mut Response)> {
    operation.responses.responses.iter_mut().filter_map(|(status, answer)| match answer {
        RefOr::T(answer) => Some((status.as_str(), answer)),
        RefOr::Ref(_) => None,
    })
}
