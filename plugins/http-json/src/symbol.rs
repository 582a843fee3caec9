use ratebus_model::Pair;

/// How an exchange writes a pair, of `{BASE}`, `{QUOTE}` and, in small letters, `{base}`, `{quote}`: `{BASE}-{QUOTE}` makes
/// `BTC-USD`.
pub(crate) fn symbol(template: &str, pair: Pair) -> String {
    let (base, quote) = (pair.base().to_string(), pair.quote().to_string());
    let small = [("{base}", base.to_lowercase()), ("{quote}", quote.to_lowercase())];
    let large = [("{BASE}", base), ("{QUOTE}", quote)];
    large.into_iter().chain(small).fold(template.to_owned(), |text, (word, value)| text.replace(word, &value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exchange_writes_pairs_its_own_way() {
        let pair = "BTC_USD".parse().unwrap();
        for (template, expected) in [
            ("{BASE}-{QUOTE}", "BTC-USD"),
            ("{base}{quote}", "btcusd"),
            ("t{BASE}{QUOTE}", "tBTCUSD"),
            ("{base}", "btc"),
        ] {
            assert_eq!(symbol(template, pair), expected);
        }
    }
}
