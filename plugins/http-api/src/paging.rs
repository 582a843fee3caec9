//! Lists that are read in pages, each of which tells where the next one begins.

use axum::extract::{Query, rejection::QueryRejection};

use crate::problem::Problem;

/// The most items of one page.
const MOST: u32 = 200;

/// The parameters of a page, the number of its items checked.
pub(crate) fn parameters<P>(page: Result<Query<P>, QueryRejection>, limit: impl Fn(&P) -> u32) -> Result<P, Problem> {
    let Query(page) = page.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if (1..=MOST).contains(&limit(&page)) {
        return Ok(page);
    }
    Err(Problem::invalid(format!("limit is not a number from 1 to {MOST}")))
}

/// Makes a page of items of which one more than `limit` was read: only that tells whether others follow. Returns the
/// last one of the page if they do.
pub(crate) fn cut<T>(items: &mut Vec<T>, limit: u32) -> Option<&T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    items.last().filter(|_| more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next_one() {
        for (read, kept, last) in [(0, 0, None), (2, 2, None), (3, 3, None), (4, 3, Some(2))] {
            let mut items: Vec<u32> = (0..read).collect();
            assert_eq!(cut(&mut items, 3).copied(), last);
            assert_eq!(items.len(), kept);
        }
    }
}
