use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

use crate::Invalid;

/// The code of a currency or coin: 1 to 15 upper-case ASCII letters and digits (`BTC`, `1INCH`).
///
/// Two of Kraken's old names are translated on the way in: `XBT` is `BTC` and `XDG` is `DOGE`.
/// Small enough to copy; it never allocates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asset(ArrayString<{ Self::MAX }>);

impl Asset {
    /// The longest code accepted.
    pub const MAX: usize = 15;

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Asset {
    type Err = Invalid;

    /// Lower case is accepted and raised.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "an asset code of 1 to 15 letters and digits");
        let mut code = ArrayString::from(text).map_err(|_| invalid())?;
        if code.is_empty() || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(invalid());
        }
        code.make_ascii_uppercase();
        match code.as_str() {
            "XBT" => code = ArrayString::from("BTC").map_err(|_| invalid())?,
            "XDG" => code = ArrayString::from("DOGE").map_err(|_| invalid())?,
            _ => {}
        }
        Ok(Self(code))
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
