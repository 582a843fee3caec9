use std::{collections::BTreeSet, fmt, sync::Arc};

use ratebus_model::{Customer, Pair, Quote, Rule, Scope, Spread, Status, pricing, pricing::PricingError};

use crate::{pair, quotes, state::App};

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// At whose price; `None` where no price was known.
    pub(super) pair: Option<Pair>,
    pub(super) error: PricingError,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pair {
            Some(pair) => write!(f, "at the current price of {pair}, {}", self.error),
            None => write!(f, "{}, if bid and ask were the same", self.error),
        }
    }
}

/// The pairs that a rule for `scope` would hold for, each with its live quote if it has one. `spreads` are those set.
pub(super) fn affected(app: &App, scope: Scope, spreads: &[Spread]) -> Vec<(Pair, Option<Arc<Quote>>)> {
    let pairs = match scope {
        Scope::Pair(pair) => BTreeSet::from([pair]),
        Scope::All => {
            let own = |pair: &Pair| spreads.iter().any(|s| s.scope == Scope::Pair(*pair) && s.rule.is_some());
            pair::known(&app.ctx).into_iter().filter(|pair| !own(pair)).collect()
        }
    };
    let now = app.ctx.clock().now();
    let live = |pair| quotes::get(&app.ctx, pair).filter(|quote| quote.status(now) != Status::Dead);
    pairs.into_iter().map(|pair| (pair, live(pair))).collect()
}

/// What `rule` makes of a quote; without one, only whether it could ever be right.
pub(super) fn outcome(rule: &Rule, quote: Option<&Quote>) -> Result<Option<Customer>, PricingError> {
    match quote {
        Some(quote) => pricing::price(quote.original, rule, quote.step).map(Some),
        None => pricing::check_without_price(rule).map(|()| None),
    }
}

/// Whether `rule` may be set for `scope`: it must be right for every pair it would hold for.
pub(super) fn check(app: &App, scope: Scope, rule: &Rule, spreads: &[Spread]) -> Result<(), Refusal> {
    let affected = affected(app, scope, spreads);
    if affected.is_empty() {
        return outcome(rule, None).map(drop).map_err(|error| Refusal { pair: None, error });
    }
    for (pair, quote) in affected {
        let refusal = |error| Refusal { pair: quote.as_ref().map(|_| pair), error };
        outcome(rule, quote.as_deref()).map_err(refusal)?;
    }
    Ok(())
}
