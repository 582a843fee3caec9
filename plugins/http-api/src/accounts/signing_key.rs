use std::{
    fs,
    io::{self, ErrorKind as Io, Write},
    path::Path,
};

use ratebus_sdk::{
    Error, ErrorKind,
    private::{self, Unread},
};
use secrecy::{SecretBox, SecretSlice};
use uuid::Uuid;

/// The fewest bytes of a key: the output of the hash behind HS256 (RFC 7518, 3.2).
const SHORTEST: usize = 32;
/// A random key of 32 bytes practically never has fewer different ones; a repeated or typed one has.
const FEWEST_DIFFERENT: usize = 10;

/// Reads the keys that tokens are signed and checked with, the one to sign with first, and makes one if there is none.
///
/// Each line of a text is one; other bytes are one as a whole.
///
/// # Errors
/// `Config` if others than its owner may read the file or if it holds an unusable key or none, `Connect` if it cannot be read.
pub(super) fn read_or_make(path: &Path) -> Result<Vec<SecretSlice<u8>>, Error> {
    let unusable =
        |error| Error::new(ErrorKind::Connect, format!("cannot use the signing key {}", path.display())).because(error);
    if !path.try_exists().map_err(unusable)? {
        make(path).map_err(unusable)?;
    }
    let content = private::read(path).map_err(|error| match error {
        Unread::Io(error) => unusable(error),
        Unread::Refused(problem) => Error::new(ErrorKind::Config, problem),
    })?;
    let keys = split(&content);
    if keys.is_empty() || keys.iter().any(|key| is_weak(key)) {
        let message = format!("{} holds no usable key: expected at least {SHORTEST} random bytes", path.display());
        return Err(Error::new(ErrorKind::Config, format!("{message}, in each line if it is a text")));
    }
    Ok(keys.into_iter().map(|key| SecretBox::new(key.into())).collect())
}

/// What is wrong with the keys in `path`, where that can be told before they are needed: a file that is there, and that
/// nobody can sign with.
pub(crate) fn problem(path: &Path) -> Option<String> {
    let error = path.exists().then(|| read_or_make(path).err())??;
    (error.kind() == ErrorKind::Config).then(|| error.to_string())
}

fn split(content: &[u8]) -> Vec<&[u8]> {
    match str::from_utf8(content) {
        Ok(text) => text.lines().map(str::trim_ascii_end).filter(|l| !l.is_empty()).map(str::as_bytes).collect(),
        Err(_) => vec![content.trim_ascii_end()],
    }
}

/// Makes a key of 32 random bytes, as text. Complete before it has its name, so that a second process starting at the
/// same time reads this one or none.
fn make(path: &Path) -> io::Result<()> {
    let random = || getrandom::u64().map_err(io::Error::other);
    let text = format!("{:016x}{:016x}{:016x}{:016x}", random()?, random()?, random()?, random()?);
    private::create_parent(path)?;
    let unfinished = path.with_file_name(format!("{}.new", Uuid::new_v4().simple()));
    let mut file = private::create_new(&unfinished)?;
    let linked =
        writeln!(file, "{text}").and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match linked {
        Ok(()) => {
            tracing::info!(file = %path.display(), "made a new key for signing tokens");
            Ok(())
        }
        Err(error) if error.kind() == Io::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_weak(key: &[u8]) -> bool {
    let mut different = key.to_vec();
    different.sort_unstable();
    different.dedup();
    key.len() < SHORTEST || different.len() < FEWEST_DIFFERENT
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets/jwt.key");
        let made = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(exposed(&read_or_make(&path).unwrap()), exposed(&made));
        assert_eq!(made.len(), 1);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    fn exposed(keys: &[SecretSlice<u8>]) -> Vec<&[u8]> {
        keys.iter().map(ExposeSecret::expose_secret).collect()
    }

    #[test]
    fn each_line_of_a_text_is_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.key");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read_or_make(&path).unwrap()
        };
        let (new, old) = ("fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef");
        let keys = read(format!("{new} \r\n\n{old}\n").as_bytes());
        assert_eq!(exposed(&keys), [new.as_bytes(), old.as_bytes()]);
        let binary: Vec<u8> = (0..40_u8).map(|number| 0xff - number).chain(*b"\nx").collect();
        assert_eq!(exposed(&read(&binary)), [binary.as_slice()]);
    }

    #[test]
    fn bad_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.key");
        let refused = |content: &str, mode: u32| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_or_make(&path).err().map(|error| (error.kind(), error.to_string()))
        };
        let good = "0123456789abcdef0123456789abcdef";
        let one_weak = format!("{good}\nsecret");
        assert_eq!(refused(good, 0o600), None);
        assert_eq!(refused(good, 0o400), None);
        for (content, mode) in [
            (good, 0o644),
            (good, 0o640),
            ("secret", 0o600),
            ("", 0o600),
            ("\n", 0o600),
            (&format!("{good}\n").repeat(200), 0o600),
            (&one_weak, 0o600),
            (&"ab".repeat(32), 0o600),
        ] {
            let (kind, message) = refused(content, mode).unwrap();
            assert_eq!(kind, ErrorKind::Config, "{message}");
            assert!(content.trim().is_empty() || !message.contains(content), "{message}");
        }
    }
}
