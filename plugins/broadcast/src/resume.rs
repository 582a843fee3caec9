use std::{fmt, str::FromStr};

use ratebus_model::Epoch;

/// How far somebody has been sent what is on a board: with it a client that comes back goes on where it was. As text
/// `<board>-<stamp>`, which means nothing to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// Each run of a server has a board of its own.
    pub(crate) board: Epoch,
    /// Everything up to this has been sent, or something newer in its place.
    pub(crate) stamp: u64,
}

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoToken;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.board, self.stamp)
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let (board, stamp) = text.split_once('-').ok_or(NoToken)?;
        let is_number = stamp.bytes().all(|byte| byte.is_ascii_digit());
        let stamp = stamp.parse().ok().filter(|_| is_number).ok_or(NoToken)?;
        Ok(Self { board: board.parse().map_err(|_| NoToken)?, stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token { board: Epoch::new(0x5f0c), stamp: 17 };
        assert_eq!(token.to_string(), "0000000000005f0c-17");
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in ["", "-", "17", "0000000000005f0c-", "0000000000005f0c-+1", "5f0c-1", "0000000000005f0c-1-2"] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
    }
}
