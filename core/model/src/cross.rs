//! The price of a pair out of those of others, chained by the assets they share: `BTC_EUR` through `BTC_USD` and `EUR_USD`,
//! `USD_BTC` through `BTC_USD` alone.
//!
//! Everything is one exact fraction that is rounded once, outwards: what a customer would pay up, what one would get down.
//! So nobody is shown a better price than trading along the chain gives.

use ethnum::I256;

use crate::{
    Asset, Pair, Price, Sides,
    decimal::{self, Decimal},
};

/// What a quote made so names as its source.
pub const NAME: &str = "cross";
/// A derived step is at most this part of the price: a hundredth of a basis point.
const STEPS_IN_A_PRICE: i128 = 1_000_000;
/// The coarsest step that is derived: cents, as for every pair.
const COARSEST_SCALE: u32 = 2;

/// A pair on the way from the base of another to its quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The pair.
    pub pair: Pair,
    /// Whether the way goes from its quote to its base, so that its price divides.
    pub reversed: bool,
}

/// Why some pairs do not lead from the base of another to its quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// A pair has not the asset that was reached before it.
    #[error("{pair} does not lead on from {reached}")]
    Broken {
        /// Its place among the pairs.
        index: usize,
        /// The pair.
        pair: Pair,
        /// The asset reached before it.
        reached: Asset,
    },
    /// The last pair leads elsewhere.
    #[error("leads to {reached}, not to {wanted}")]
    Elsewhere {
        /// Where it leads.
        reached: Asset,
        /// Where it should.
        wanted: Asset,
    },
}

/// How `through` leads from the base of `pair` to its quote, in this order.
pub fn legs(pair: Pair, through: &[Pair]) -> Result<Vec<Leg>, NoWay> {
    let mut reached = pair.base();
    let mut legs = Vec::new();
    for (index, &leg) in through.iter().enumerate() {
        let reversed = leg.quote() == reached;
        if !reversed && leg.base() != reached {
            return Err(NoWay::Broken { index, pair: leg, reached });
        }
        reached = if reversed { leg.base() } else { leg.quote() };
        legs.push(Leg { pair: leg, reversed });
    }
    if reached == pair.quote() { Ok(legs) } else { Err(NoWay::Elsewhere { reached, wanted: pair.quote() }) }
}

/// The price along `legs`, each with its own, at multiples of `step`. `None` if that is zero, or has more digits than can
/// be computed or held.
pub fn price(legs: &[(Leg, Sides<Price>)], step: Price) -> Option<Sides<Price>> {
    let (steps, scale) = decimal::parts(step.value());
    let round = |fraction: Fraction, up: bool| {
        let rounded = fraction.in_steps(step, up)?.checked_mul(steps)?;
        decimal::from_parts(rounded, i64::from(scale)).and_then(Price::new)
    };
    let Sides { buy, sell } = exact(legs)?;
    Some(Sides { buy: round(buy, true)?, sell: round(sell, false)? })
}

/// How many decimals the price along `legs` has where no step is configured: `at_least` so many, and so many that a step is
/// at most a millionth of the price.
pub fn scale(legs: &[(Leg, Sides<Price>)], at_least: u32) -> u32 {
    let first = at_least.max(COARSEST_SCALE);
    let Some(exact) = exact(legs) else { return first };
    let is_fine = |scale: &u32| {
        let steps = exact.sell.in_steps(Price::unit(*scale), false);
        steps.is_none_or(|steps| steps >= STEPS_IN_A_PRICE)
    };
    (first..Decimal::MAX_SCALE).find(is_fine).unwrap_or(Decimal::MAX_SCALE)
}

/// To buy what the chain begins with is to buy along each leg that leads forward, and to sell along each that is reversed.
fn exact(legs: &[(Leg, Sides<Price>)]) -> Option<Sides<Fraction>> {
    let mut product = Sides { buy: Fraction::ONE, sell: Fraction::ONE };
    for (leg, price) in legs {
        product = if leg.reversed {
            Sides { buy: product.buy.over(price.sell)?, sell: product.sell.over(price.buy)? }
        } else {
            Sides { buy: product.buy.times(price.buy)?, sell: product.sell.times(price.sell)? }
        };
    }
    Some(product)
}

/// `numerator / denominator / 10^scale`, above zero.
#[derive(Debug, Clone, Copy)]
struct Fraction {
    numerator: I256,
    denominator: I256,
    scale: i64,
}

impl Fraction {
    const ONE: Self = Self { numerator: I256::ONE, denominator: I256::ONE, scale: 0 };

    fn times(self, price: Price) -> Option<Self> {
        let (digits, scale) = decimal::parts(price.value().normalize());
        Some(Self { numerator: self.numerator.checked_mul(digits)?, scale: self.scale + i64::from(scale), ..self })
    }

    fn over(self, price: Price) -> Option<Self> {
        let (digits, scale) = decimal::parts(price.value().normalize());
        Some(Self { denominator: self.denominator.checked_mul(digits)?, scale: self.scale - i64::from(scale), ..self })
    }

    /// How many times `step` it is, rounded.
    fn in_steps(self, step: Price, up: bool) -> Option<I256> {
        let (digits, scale) = decimal::parts(step.value());
        let lift = i64::from(scale) - self.scale;
        let power = decimal::pow10(u32::try_from(lift.unsigned_abs()).ok()?)?;
        let (mut numerator, mut denominator) = (self.numerator, self.denominator.checked_mul(digits)?);
        if lift < 0 {
            denominator = denominator.checked_mul(power)?;
        } else {
            numerator = numerator.checked_mul(power)?;
        }
        let down = numerator / denominator;
        Some(if up && down * denominator != numerator { down + 1 } else { down })
    }
}
