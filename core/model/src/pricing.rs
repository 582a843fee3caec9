//! From a market price and a rule to the price a customer sees: pure, exact, rounded once.
//!
//! Everything is computed in 256-bit integers and rounded last, at the pair's price step, in favour of the house: what
//! the customer pays is rounded up, what the customer gets is rounded down.

use std::cmp::Ordering;

use ethnum::I256;
use rust_decimal::Decimal;

use crate::{Adjustment, Customer, Price, Rule, Sides, Unit, decimal};

/// The coarsest step that follows from received prices alone: cents.
const COARSEST_SCALE: u32 = 2;

/// Why a rule gives no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PricingError {
    /// The customer would get more for selling than pay for buying.
    #[error("the customer's sell price would be above the buy price")]
    Crossed,
    /// The customer's buy price would be zero or less.
    #[error("the customer's buy price would not be above zero")]
    BuyNotPositive,
    /// The customer's sell price would be zero or less.
    #[error("the customer's sell price would not be above zero")]
    SellNotPositive,
    /// The exact result has more digits than can be held.
    #[error("the result has too many digits")]
    OutOfRange,
}

/// The customer's prices for `original` under `rule`, at multiples of `step`.
///
/// The spread in the answer is the difference after rounding, so `customer = original + spread` holds to the digit in
/// every unit.
pub fn price(original: Sides<Price>, rule: &Rule, step: Price) -> Result<Customer, PricingError> {
    let adjustments = rule.adjustments();
    let buy = side(original.buy, adjustments.buy, step, Rounding::Up)?;
    let sell = side(original.sell, adjustments.sell, step, Rounding::Down)?;
    let buy = Price::new(buy).ok_or(PricingError::BuyNotPositive)?;
    let sell = Price::new(sell).ok_or(PricingError::SellNotPositive)?;
    if sell > buy {
        return Err(PricingError::Crossed);
    }
    Customer::over(original, Sides { buy, sell }).ok_or(PricingError::OutOfRange)
}

/// Judges `rule` before any price is known, as if bid and ask were the same: refused if there is a price at which the
/// customer's prices would be crossed, or if none gives both above zero. So of an absolute and a relative side neither
/// may give anything away.
pub fn check_without_price(rule: &Rule) -> Result<(), PricingError> {
    let Sides { buy, sell } = rule.adjustments();
    let loses_everything = |adjustment| matches!(Factor::of(adjustment), Some(factor) if !factor.is_positive());
    if loses_everything(buy) {
        return Err(PricingError::BuyNotPositive);
    }
    if loses_everything(sell) {
        return Err(PricingError::SellNotPositive);
    }
    let ordered = match (Factor::of(buy), Factor::of(sell)) {
        (Some(buy), Some(sell)) => sell.compare(&buy) != Ordering::Greater,
        (None, None) => sell.value <= buy.value,
        _ => sell.value <= Decimal::ZERO && buy.value >= Decimal::ZERO,
    };
    if ordered { Ok(()) } else { Err(PricingError::Crossed) }
}

/// Whether `adjustment` moves `price` by more than `percent` of it. Never an absolute one where no price is known.
pub fn moves_more_than(percent: u32, adjustment: Adjustment, price: Option<Price>) -> bool {
    let (whole, whole_scale) = match (adjustment.unit, price) {
        (Unit::Absolute, Some(price)) => decimal::parts(price.value()),
        (Unit::Absolute, None) => return false,
        (Unit::Percent, _) => (I256::new(100), 0),
        (Unit::Bps, _) => (I256::new(10_000), 0),
    };
    let (value, value_scale) = decimal::parts(adjustment.value);
    // 96 bits of digits, 94 of a power and 32 of a percentage: never 256.
    let lift = |scale: u32| I256::new(10).pow(scale);
    value.abs() * 100 * lift(whole_scale) > whole * I256::from(percent) * lift(value_scale)
}

/// The step of a pair whose finest price so far had `scale` decimals: one unit of the last decimal, at most 0.01.
pub fn step_of_scale(scale: u32) -> Price {
    Price::unit(scale.max(COARSEST_SCALE))
}

/// Whether the house would lose on a trade at once: it buys above the market's bid or sells below the market's ask.
pub fn house_loss(customer: Sides<Price>, bid: Price, ask: Price) -> bool {
    customer.sell > bid || customer.buy < ask
}

/// The distance between the customer's prices in basis points of the middle between them, to two decimals. For display.
pub fn width_bps(customer: Sides<Price>) -> Option<Decimal> {
    let (buy, sell) = (customer.buy.value(), customer.sell.value());
    let middle = buy.checked_add(sell)?.checked_div(Decimal::TWO)?;
    let width = buy.checked_sub(sell)?.checked_mul(Decimal::from(10_000))?.checked_div(middle)?;
    Some(width.round_dp(2))
}

/// `price` moved by `adjustment` before it is rounded, as text with every digit that counts. For display.
pub fn moved_text(price: Price, adjustment: Adjustment) -> Option<String> {
    moved(price, adjustment).map(|(mantissa, scale)| decimal::text_of(mantissa, scale))
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// One side: moved exactly, then rounded to a multiple of `step`.
fn side(price: Price, adjustment: Adjustment, step: Price, rounding: Rounding) -> Result<Decimal, PricingError> {
    moved(price, adjustment)
        .and_then(|(mantissa, scale)| round(mantissa, scale, step, rounding))
        .ok_or(PricingError::OutOfRange)
}

/// `price` moved by `adjustment`, as an integer and its number of decimals.
fn moved(price: Price, adjustment: Adjustment) -> Option<(I256, u32)> {
    let (price, price_scale) = decimal::parts(price.value());
    if let Some(factor) = Factor::of(adjustment) {
        return Some((price.checked_mul(factor.mantissa)?, price_scale + factor.scale));
    }
    let (value, value_scale) = decimal::parts(adjustment.value);
    let scale = price_scale.max(value_scale);
    let price = price.checked_mul(decimal::pow10(scale - price_scale)?)?;
    let value = value.checked_mul(decimal::pow10(scale - value_scale)?)?;
    Some((price.checked_add(value)?, scale))
}

/// The multiple of `step` at or next to `mantissa / 10^scale`.
fn round(mantissa: I256, scale: u32, step: Price, rounding: Rounding) -> Option<Decimal> {
    let (step, step_scale) = decimal::parts(step.value());
    let (number, divisor) = if step_scale >= scale {
        (mantissa.checked_mul(decimal::pow10(step_scale - scale)?)?, step)
    } else {
        // A step past 256 bits is further out than any price, so the largest integer rounds alike.
        let lifted = decimal::pow10(scale - step_scale).and_then(|power| step.checked_mul(power));
        (mantissa, lifted.unwrap_or(I256::MAX))
    };
    let steps = match rounding {
        Rounding::Down => number.div_euclid(divisor),
        Rounding::Up => -(-number).div_euclid(divisor),
    };
    decimal::from_parts(steps.checked_mul(step)?, i64::from(step_scale))
}

/// What a relative adjustment multiplies a price with: `1 + value/100` or `1 + value/10000`, exactly.
struct Factor {
    mantissa: I256,
    scale: u32,
}

impl Factor {
    fn of(adjustment: Adjustment) -> Option<Self> {
        let unit_scale = match adjustment.unit {
            Unit::Absolute => return None,
            Unit::Percent => 2,
            Unit::Bps => 4,
        };
        let (value, value_scale) = decimal::parts(adjustment.value);
        // At most 32 decimals, so neither the power nor the sum leaves 256 bits.
        let scale = value_scale + unit_scale;
        Some(Self { mantissa: I256::new(10).pow(scale) + value, scale })
    }

    fn is_positive(&self) -> bool {
        self.mantissa > 0
    }

    fn compare(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        let lift = |factor: &Self| factor.mantissa * I256::new(10).pow(scale - factor.scale);
        lift(self).cmp(&lift(other))
    }
}
