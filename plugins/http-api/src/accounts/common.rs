use std::{collections::HashSet, sync::LazyLock};

/// What attackers try first.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with('#')).collect());

/// What they try next, here.
const PRODUCT: &[&str] = &["ratebus", "exchange"];

/// How many characters there must be besides words that anybody would guess.
const OWN: usize = 5;

/// Whether a password is one of the common ones, or little more than the product's name and the account's `own` words
/// (names and address).
pub(super) fn is_common(password: &str, own: &[&str]) -> bool {
    let password = password.to_lowercase();
    let mut words: Vec<String> = PRODUCT.iter().chain(own).map(|word| word.to_lowercase()).collect();
    words.retain(|word| word.chars().count() >= 3);
    // The longest first: an address before the name in it.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(password.clone(), |rest, word| rest.replace(word, ""));
    COMMON.contains(password.as_str()) || rest.chars().count() < OWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_would_guess_is_refused() {
        let own = ["Ann", "O'Hara", "ann.ohara@example.com", "ann.ohara"];
        assert!(COMMON.len() >= 3000);
        assert!(
            COMMON.iter().all(|password| password.chars().count() >= 8 && is_common(&password.to_uppercase(), &[]))
        );
        for guess in
            ["Password", "ratebus2026ratebus", "Exchange1!", "annANNann", "ann.ohara@example.com1", "o'hara-o'hara"]
        {
            assert!(is_common(guess, &own), "{guess}");
        }
        for fine in ["correct horse", "ann likes tea", "ratebus 9xT!q", "öäü öäü öäü"] {
            assert!(!is_common(fine, &own), "{fine}");
        }
    }
}
