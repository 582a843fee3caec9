use ratebus_model::Pair;
use serde::Deserialize;

/// How an exchange names a pair: `{BASE}` and `{QUOTE}` are its assets in capitals, `{base}` and `{quote}` in small letters.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct SymbolName(String);

impl Default for SymbolName {
    fn default() -> Self {
        Self("{BASE}-{QUOTE}".to_owned())
    }
}

impl TryFrom<String> for SymbolName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains("{BASE}") || text.contains("{base}") {
            Ok(Self(text))
        } else {
            Err("must have {BASE} or {base}, and most often {QUOTE} or {quote}")
        }
    }
}

impl SymbolName {
    /// The name of a pair.
    pub fn of(&self, pair: Pair) -> String {
        let (base, quote) = (pair.base().to_string(), pair.quote().to_string());
        let text = self.0.replace("{BASE}", &base).replace("{QUOTE}", &quote);
        text.replace("{base}", &base.to_lowercase()).replace("{quote}", &quote.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_named_as_the_exchange_does() {
        for (text, expected) in [
            ("{BASE}-{QUOTE}", "BTC-USD"),
            ("{base}{quote}@bookTicker", "btcusd@bookTicker"),
            ("t{BASE}{quote}", "tBTCusd"),
            ("{base}", "btc"),
        ] {
            assert_eq!(SymbolName::try_from(text.to_owned()).unwrap().of("BTC_USD".parse().unwrap()), expected);
        }
        assert!(SymbolName::try_from("{QUOTE}".to_owned()).is_err());
    }
}
