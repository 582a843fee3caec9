//! Files and folders that only their owner may use: databases, passwords and keys.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 4096;

/// Why a private file was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is not there, or the system does not let us.
    Io(io::Error),
    /// It must not be used as it is, in words.
    Refused(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes the folder of `file`, and those above it, for the owner alone. Folders that exist stay as they are.
///
/// # Errors
/// One cannot be made.
pub fn create_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        _ => Ok(()),
    }
}

/// Makes a new file for the owner alone.
///
/// # Errors
/// It exists, or cannot be made.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// As [`exposure`], for a file that may not be there yet.
pub fn problem(path: &Path) -> Option<String> {
    exposure(&path.metadata().ok()?, path)
}

/// What is in a file that its owner alone may use. One longer than 4096 bytes is refused, never cut.
///
/// # Errors
/// There is no such file, it is too long, or others may use it.
pub fn read(path: &Path) -> Result<Vec<u8>, Unread> {
    let file = File::open(path)?;
    if let Some(problem) = exposure(&file.metadata()?, path) {
        return Err(Unread::Refused(problem));
    }
    let mut content = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LONGEST {
        return Err(Unread::Refused(format!("{} is longer than {LONGEST} bytes", path.display())));
    }
    Ok(content)
}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// Why there is none, in words that do not show it.
pub fn read_secret(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    let content = read(path).map_err(|error| match error {
        Unread::Io(error) => format!("cannot read {shown}: {error}"),
        Unread::Refused(problem) => problem,
    })?;
    let text = str::from_utf8(&content).map_err(|error| format!("{shown} is no text: {error}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err(format!("{shown} is empty")) } else { Ok(secret.into()) }
}

/// Puts the password that a file holds into the URL of a server.
///
/// # Errors
/// The URL has one already or can have none, or the file has none; in words that do not show it.
pub fn add_password(url: &mut Url, file: &Path) -> Result<(), String> {
    if url.password().is_some() {
        return Err("the URL has a password already: give one of them".to_owned());
    }
    let password = read_secret(file)?;
    // The URL itself would leave a % as it is.
    let encoded = utf8_percent_encode(password.expose_secret(), NON_ALPHANUMERIC).to_string();
    url.set_password(Some(&encoded)).map_err(|()| "a URL without a host has no password".to_owned())
}

/// What is wrong with the permissions of the file at `path`, if others than its owner may use it.
pub fn exposure(metadata: &Metadata, path: &Path) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} is open to others than its owner (mode {mode:04o}); make it private: chmod 600 {path}")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_secret_is_taken_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            create_new(&path).unwrap().write_all(content).unwrap();
            read_secret(&path).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(read("line", b" a secret \r\n").as_deref(), Ok(" a secret "));
        assert_eq!(read("longest", &[b'x'; 4096]).map(|secret| secret.len()), Ok(4096));
        for (name, content, problem) in [
            ("long", &[b'x'; 4097][..], "longer than 4096 bytes"),
            ("empty", b"\n", "is empty"),
            ("binary", b"\xff", "is no text"),
        ] {
            let error = read(name, content).unwrap_err();
            assert!(error.contains(problem) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_password_of_any_characters_goes_into_a_url() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        create_new(&file).unwrap().write_all("50%25 @/:#?\u{e9}\n".as_bytes()).unwrap();
        let with = |text: &str| {
            let mut url: Url = text.parse().unwrap();
            add_password(&mut url, &file).map(|()| url.to_string())
        };
        let encoded = "50%2525%20%40%2F%3A%23%3F%C3%A9";
        assert_eq!(with("redis://localhost/1"), Ok(format!("redis://:{encoded}@localhost/1")));
        assert_eq!(with("nats://me@localhost"), Ok(format!("nats://me:{encoded}@localhost")));
        assert!(with("redis://:another@localhost").unwrap_err().contains("a password already"));
        assert!(with("redis:///1").unwrap_err().contains("without a host"));
    }
}
