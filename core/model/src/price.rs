use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use crate::{Invalid, decimal, schema::text_schema, serde_as_text};

/// A price: an exact decimal above zero, in units of the pair's quote asset.
///
/// The decimals are kept as they were received (`20249.00000` stays so); two prices are equal when their values are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(Decimal);

impl Price {
    /// A price of `value`, unless it is zero or negative.
    pub fn new(value: Decimal) -> Option<Self> {
        (value > Decimal::ZERO).then_some(Self(value))
    }

    /// One unit of the last of `scale` decimals: `0.01` for 2. At most 28 decimals.
    pub fn unit(scale: u32) -> Self {
        Self(Decimal::new(1, scale.min(Decimal::MAX_SCALE)))
    }

    /// The number.
    pub fn value(self) -> Decimal {
        self.0
    }

    /// How many digits stand after the point.
    pub fn scale(self) -> u32 {
        self.0.scale()
    }
}

impl FromStr for Price {
    type Err = Invalid;

    /// Reads the exchange's own text; see [`decimal::parse`] for what is refused.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        decimal::parse(text).ok().and_then(Self::new).ok_or_else(|| Invalid::new(text, "a decimal number above zero"))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Price);
text_schema!(
    Price,
    "A decimal above zero, digit for digit, in the pair's quote asset.",
    r"^[0-9]+(\.[0-9]+)?$",
    "81413.30"
);
