//! Who may have sent a message: on a shared broker anybody can write under any subject.
//!
//! With a key configured, each message carries a code (HMAC-SHA-256, RFC 2104) over its subject and its body, and the
//! name of the key it was made with. What has none, or a wrong one, is dropped. Several keys are good at once, so that a
//! key can be changed without a gap: the first one signs.

use data_encoding::HEXLOWER;
use ratebus_model::Subject;
use ring::{digest, hmac};

/// What separates the code's use here from any other use of the same key.
const PURPOSE: &[u8] = b"ratebus message 1\0";
/// How many bytes of a key's SHA-256 name it.
const NAME: usize = 4;

/// The keys of a process. Without one nothing is signed and nothing is checked.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    name: String,
    key: hmac::Key,
}

/// Why a code is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forged {
    /// The message has none.
    Unsigned,
    /// It was made with a key that is none of ours.
    UnknownKey,
    /// It is not the code of this message under this subject.
    WrongCode,
}

impl Keys {
    /// From secrets, of which the first one signs.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(secrets.into_iter().map(Key::new).collect())
    }

    /// The code of a body under a subject: `<key's name>:<64 hexadecimal digits>`.
    pub(crate) fn sign(&self, subject: &Subject, body: &str) -> Option<String> {
        let Key { name, key } = self.0.first()?;
        let mut context = hmac::Context::with_key(key);
        for part in parts(subject, body) {
            context.update(part);
        }
        Some(format!("{name}:{}", HEXLOWER.encode(context.sign().as_ref())))
    }

    /// Whether `code` is the code of a body under a subject.
    pub(crate) fn check(&self, subject: &Subject, body: &str, code: Option<&str>) -> Result<(), Forged> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (name, code) = code.ok_or(Forged::Unsigned)?.split_once(':').ok_or(Forged::WrongCode)?;
        let Key { key, .. } = self.0.iter().find(|key| key.name == name).ok_or(Forged::UnknownKey)?;
        let code = HEXLOWER.decode(code.as_bytes()).map_err(|_| Forged::WrongCode)?;
        // In constant time.
        hmac::verify(key, &parts(subject, body).concat(), &code).map_err(|_| Forged::WrongCode)
    }
}

impl Key {
    fn new(secret: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, secret);
        let name = HEXLOWER.encode(digest.as_ref().get(..NAME).unwrap_or_default());
        Self { name, key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }
}

/// A subject has no NUL, so no two messages have the same parts in a row.
fn parts<'a>(subject: &'a Subject, body: &'a str) -> [&'a [u8]; 4] {
    [PURPOSE, subject.as_str().as_bytes(), b"\0", body.as_bytes()]
}
