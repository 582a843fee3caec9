use std::{collections::BTreeSet, fmt, sync::Arc};

use ratebus_model::{Customer, Pair, Quote, Rule, Scope, Sides, Spread, Status, pricing, pricing::PricingError};

use crate::{pair, quotes, state::App};

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// At whose price; `None` where no price was known.
    pub(super) pair: Option<Pair>,
    pub(super) reason: Reason,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Pricing(#[from] PricingError),
    #[error("the customer's {side} price would be moved by more than {limit} % (max_markup_percent)")]
    TooFar { side: &'static str, limit: u32 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pair, self.reason) {
            (Some(pair), reason) => write!(f, "at the current price of {pair}, {reason}"),
            (None, Reason::Pricing(error)) => write!(f, "{error}, if bid and ask were the same"),
            (None, reason) => write!(f, "{reason}"),
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

/// What `rule` makes of a quote; without one, only whether it could ever be right. It may move no price by more than
/// `limit` percent.
pub(super) fn outcome(rule: &Rule, quote: Option<&Quote>, limit: u32) -> Result<Option<Customer>, Reason> {
    let customer = match quote {
        Some(quote) => Some(pricing::price(quote.original, rule, quote.step)?),
        None => pricing::check_without_price(rule).map(|()| None)?,
    };
    let Sides { buy, sell } = rule.adjustments();
    let original = quote.map(|quote| quote.original);
    let sides = [("buy", buy, original.map(|price| price.buy)), ("sell", sell, original.map(|price| price.sell))];
    for (side, adjustment, price) in sides {
        if pricing::moves_more_than(limit, adjustment, price) {
            return Err(Reason::TooFar { side, limit });
        }
    }
    Ok(customer)
}

/// Whether `rule` may be set for `scope`: it must be right for every pair it would hold for.
pub(super) fn check(app: &App, scope: Scope, rule: &Rule, spreads: &[Spread], limit: u32) -> Result<(), Refusal> {
    let affected = affected(app, scope, spreads);
    if affected.is_empty() {
        return outcome(rule, None, limit).map(drop).map_err(|reason| Refusal { pair: None, reason });
    }
    for (pair, quote) in affected {
        let refusal = |reason| Refusal { pair: quote.as_ref().map(|_| pair), reason };
        outcome(rule, quote.as_deref(), limit).map_err(refusal)?;
    }
    Ok(())
}
