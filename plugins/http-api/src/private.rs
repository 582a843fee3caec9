//! Files and folders that only their owner may read: the database and the signing key.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

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

/// What is wrong with the permissions of the file at `path`, if others than its owner may use it.
pub(crate) fn exposure(metadata: &Metadata, path: &Path) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} is open to others than its owner (mode {mode:04o}); make it private: chmod 600 {path}")
    })
}
