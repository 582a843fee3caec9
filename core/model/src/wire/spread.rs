use serde::{Deserialize, Serialize};

use super::WireSides;
use crate::{
    Adjustment, Rule, Scope, Sides, Spread, Timestamp, Unit,
    decimal::{self, Decimal},
};

/// A spread without the name of who set it: a broker is read by many, and the audit log is in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSpread {
    scope: Scope,
    /// Per side, positive when the house earns; `null` for none.
    markup: Option<WireSides<WireAdjustment>>,
    revision: u64,
    updated_at: Timestamp,
}

/// As an [`Adjustment`], which in a request has no members but its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WireAdjustment {
    unit: Unit,
    #[serde(with = "decimal::text")]
    value: Decimal,
}

impl WireSpread {
    pub(super) fn new(spread: &Spread) -> Self {
        let wire = |Adjustment { unit, value }| WireAdjustment { unit, value };
        Self {
            scope: spread.scope,
            markup: spread.rule.map(|rule| rule.markup().map(wire).into()),
            revision: spread.revision,
            updated_at: spread.updated_at,
        }
    }

    pub(super) fn into_spread(self) -> Spread {
        let here = |WireAdjustment { unit, value }| Adjustment { unit, value };
        Spread {
            scope: self.scope,
            rule: self.markup.map(|markup| Rule::from_markup(Sides::from(markup).map(here))),
            revision: self.revision,
            updated_by: String::new(),
            updated_at: self.updated_at,
        }
    }
}
