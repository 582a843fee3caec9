use ratebus_model::Pair;

use crate::ConfigError;

/// The pairs that a source's key `pairs` lists, in its order.
///
/// # Errors
/// Every text that is no pair, or that names one a second time; and an empty list.
pub fn pairs(texts: &[String]) -> Result<Vec<Pair>, ConfigError> {
    let mut error = ConfigError::default();
    let mut pairs = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<Pair>() {
            Ok(pair) if pairs.contains(&pair) => {
                error.add(format!("pairs.{index}"), format!("{pair} is listed twice"));
            }
            Ok(pair) => pairs.push(pair),
            Err(invalid) => error.add(format!("pairs.{index}"), invalid.to_string()),
        }
    }
    if texts.is_empty() {
        error.add("pairs", "at least one pair is needed, such as \"BTC_USD\"");
    }
    error.or(pairs)
}
