//! One price out of several of the same thing: exact, and never crossed if none of them is.

use ethnum::I256;

use crate::{Price, Sides, decimal};

/// What a quote made so names as its source.
pub const NAME: &str = "median";

/// Side by side the price in the middle; of an even number the mean of the two in the middle, with one decimal more if
/// that takes one.
///
/// `None` without any price, or if a mean has more digits than a price holds.
pub fn of(prices: &[Sides<Price>]) -> Option<Sides<Price>> {
    let buy = middle(prices.iter().map(|price| price.buy).collect())?;
    let sell = middle(prices.iter().map(|price| price.sell).collect())?;
    Some(Sides { buy, sell })
}

/// Whether the middle between the sides of `price` is more than `bps` basis points away from that of `from`, measured in
/// the latter.
pub fn is_apart(price: Sides<Price>, from: Sides<Price>, bps: u32) -> bool {
    let sides = [price.buy, price.sell, from.buy, from.sell];
    let scale = sides.map(Price::scale).into_iter().max().unwrap_or_default();
    // 96 bits of digits, 94 of a power, one of a sum, and 32 of basis points: never 256.
    let [buy, sell, from_buy, from_sell] = sides.map(|side| {
        let (digits, own_scale) = decimal::parts(side.value());
        digits * I256::new(10).pow(scale - own_scale)
    });
    let (twice, twice_from) = (buy + sell, from_buy + from_sell);
    (twice - twice_from).abs() * 10_000 > twice_from * I256::from(bps)
}

/// Whether any two of these prices are further apart than that, measured in the lower one.
pub fn any_apart(prices: &[Sides<Price>], bps: u32) -> bool {
    prices.iter().any(|price| prices.iter().any(|from| is_apart(*price, *from, bps)))
}

fn middle(mut prices: Vec<Price>) -> Option<Price> {
    prices.sort();
    let half = prices.len() / 2;
    let upper = *prices.get(half)?;
    if prices.len() % 2 == 1 { Some(upper) } else { mean(prices[half - 1], upper) }
}

fn mean(low: Price, high: Price) -> Option<Price> {
    let ((low, low_scale), (high, high_scale)) = (decimal::parts(low.value()), decimal::parts(high.value()));
    let scale = low_scale.max(high_scale);
    let lift = |digits: I256, own_scale: u32| digits * I256::new(10).pow(scale - own_scale);
    let sum = lift(low, low_scale) + lift(high, high_scale);
    let scale = i64::from(scale);
    let mean = if sum % 2 == 0 { decimal::from_parts(sum / 2, scale) } else { decimal::from_parts(sum * 5, scale + 1) };
    mean.and_then(Price::new)
}
