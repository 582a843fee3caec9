use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

use crate::{Invalid, schema::text_schema, serde_as_text};

/// The name of a source as the config gives it (`[plugin.kraken]`): 1 to 32 lower-case letters, digits, `-` and `_`,
/// so that it is one token of a subject. Copies freely; it never allocates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(ArrayString<32>);

impl SourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        match ArrayString::from(text) {
            Ok(name) if !name.is_empty() && name.bytes().all(allowed) => Ok(Self(name)),
            _ => Err(Invalid::new(text, "a name of 1 to 32 lower-case letters, digits, '-' and '_'")),
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(SourceName);
text_schema!(SourceName, "A name in the config.", "^[a-z0-9_-]{1,32}$", "kraken");
