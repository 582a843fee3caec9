//! Files and folders that only their owner may read: the database, its password and the signing key.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use secrecy::SecretString;

/// The longest secret that a file may hold, in bytes.
const LONGEST_SECRET: u64 = 4096;

/// Makes the folder of `file`, and those above it, for the owner alone. Folders that exist stay as they are.
pub(crate) fn create_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        _ => Ok(()),
    }
}

/// Makes a new file for the owner alone; one that exists is an error.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// As [`exposure`], for a file that may not be there yet.
pub(crate) fn problem(path: &Path) -> Option<String> {
    exposure(&path.metadata().ok()?, path)
}

/// The secret in a file, without the end of its line. An error says why there is none.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(unreadable)?;
    if let Some(problem) = exposure(&file.metadata().map_err(unreadable)?, path) {
        return Err(problem);
    }
    let mut text = String::new();
    file.take(LONGEST_SECRET).read_to_string(&mut text).map_err(unreadable)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err(format!("{shown} is empty")) } else { Ok(secret.into()) }
}

/// What is wrong with the permissions of the file at `path`, if others than its owner may use it.
pub(crate) fn exposure(metadata: &Metadata, path: &Path) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} is open to others than its owner (mode {mode:04o}); make it private: chmod 600 {path}")
    })
}
