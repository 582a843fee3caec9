use std::{fmt, str::FromStr};

use crate::{Asset, Invalid, schema::text_schema, serde_as_text};

/// What is priced (base) and what it is priced in (quote).
///
/// One canonical text everywhere: `BTC_USD`. Input also takes `BTC/USD`, `BTC-USD`, lower case and Kraken's old
/// asset names. Copies freely; it never allocates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    base: Asset,
    quote: Asset,
}

impl Pair {
    /// A pair of two different assets.
    pub fn new(base: Asset, quote: Asset) -> Result<Self, Invalid> {
        if base == quote {
            return Err(Invalid::new(base.as_str(), "a pair of two different assets"));
        }
        Ok(Self { base, quote })
    }

    /// The asset that is bought and sold.
    pub fn base(&self) -> Asset {
        self.base
    }

    /// The asset the price is in.
    pub fn quote(&self) -> Asset {
        self.quote
    }
}

impl FromStr for Pair {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "a pair such as BTC_USD");
        let (base, quote) = text.split_once(['_', '/', '-']).ok_or_else(invalid)?;
        let (base, quote) = (base.parse().map_err(|_| invalid())?, quote.parse().map_err(|_| invalid())?);
        Self::new(base, quote).map_err(|_| invalid())
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.base, self.quote)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Pair);
text_schema!(Pair, "What is priced, and what it is priced in.", "^[A-Z0-9]{1,15}_[A-Z0-9]{1,15}$", "BTC_USD");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_pair() {
        for text in ["BTC_USD", "BTC/USD", "BTC-USD", "btc_usd", "XBT/USD", "xbt-usd"] {
            assert_eq!(text.parse::<Pair>().map(|p| p.to_string()), Ok("BTC_USD".to_owned()), "{text}");
        }
        assert_eq!("ETH/XBT".parse::<Pair>().map(|p| p.to_string()), Ok("ETH_BTC".to_owned()));
        assert_eq!("XDG/USD".parse::<Pair>().map(|p| p.to_string()), Ok("DOGE_USD".to_owned()));
    }

    #[test]
    fn what_is_not_a_pair_is_refused() {
        for text in
            ["", "BTC", "BTCUSD", "_USD", "BTC_", "BTC_USD_EUR", "BTC_BTC", "XBT_BTC", "B C_USD", "BTC_*", "ÄBC_USD"]
        {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
    }
}
