use serde::{Deserialize, Serialize};

use crate::{Adjustment, Rule, Scope, Sides, Spread, Timestamp};

/// A spread without the name of who set it: a broker is read by many, and the audit log is in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSpread {
    scope: Scope,
    /// Per side, positive when the house earns; `null` for none.
    markup: Option<Sides<Adjustment>>,
    revision: u64,
    updated_at: Timestamp,
}

impl WireSpread {
    pub(super) fn new(spread: &Spread) -> Self {
        Self {
            scope: spread.scope,
            markup: spread.rule.map(|rule| rule.markup()),
            revision: spread.revision,
            updated_at: spread.updated_at,
        }
    }

    pub(super) fn into_spread(self) -> Spread {
        Spread {
            scope: self.scope,
            rule: self.markup.map(Rule::from_markup),
            revision: self.revision,
            updated_by: String::new(),
            updated_at: self.updated_at,
        }
    }
}
