use secrecy::{ExposeSecret, SecretString};

use super::sha256::sha256_hex;
use crate::store::RefreshHashes;

/// How many hex digits name the family; as many follow.
const FAMILY: usize = 32;

/// A refresh token: 128 random bits that all tokens of a session share, and 128 of its own, in hex. Says nothing, and is
/// stored as hashes alone.
pub(super) struct RefreshToken(SecretString);

impl RefreshToken {
    /// The first one of a session.
    pub(super) fn first() -> Result<Self, getrandom::Error> {
        Ok(Self::new(&random()?, &random()?))
    }

    /// One that has this form. Access tokens do not.
    pub(super) fn parse(text: &SecretString) -> Option<Self> {
        let digits = text.expose_secret().as_bytes();
        let valid = digits.len() == 2 * FAMILY && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.clone()))
    }

    /// The next one of its session.
    pub(super) fn next(&self) -> Result<Self, getrandom::Error> {
        Ok(Self::new(self.family(), &random()?))
    }

    pub(super) fn hashes(&self) -> RefreshHashes {
        let hash = |text: &str| sha256_hex(text.as_bytes());
        RefreshHashes { family: hash(self.family()), token: hash(self.0.expose_secret()) }
    }

    /// For the answer.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn new(family: &str, own: &str) -> Self {
        Self(format!("{family}{own}").into())
    }

    fn family(&self) -> &str {
        self.0.expose_secret().get(..FAMILY).unwrap_or_default()
    }
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_session_share_their_family_alone() {
        let (first, other) = (RefreshToken::first().unwrap(), RefreshToken::first().unwrap());
        let next = first.next().unwrap();
        let (a, b, c) = (first.hashes(), next.hashes(), other.hashes());
        assert!(a.family == b.family && a.token != b.token && a.family != c.family);
        let parsed = RefreshToken::parse(&first.expose().to_owned().into()).unwrap().hashes();
        assert_eq!((parsed.family, parsed.token), (a.family, a.token));
    }

    #[test]
    fn only_the_exact_form_is_a_token() {
        for text in ["", "x", &"A".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32), "a.b.c"] {
            assert!(RefreshToken::parse(&text.to_owned().into()).is_none(), "{text}");
        }
    }
}
