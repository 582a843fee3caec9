use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ratebus_sdk::{Error, ErrorKind, private};

use super::StoreError;

/// The file of an open database, recognised by its inode.
pub(super) struct DatabaseFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl DatabaseFile {
    /// Makes sure that there is a file which only its owner can use; SQLite gives its companions (`-wal`, `-shm`) the
    /// same permissions.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let cannot_open = |error| {
            Error::new(ErrorKind::Connect, format!("cannot open the database {}", path.display())).because(error)
        };
        private::create_parent(&path).map_err(cannot_open)?;
        // An existing file is looked at and never opened here: closing it would end the locks that SQLite may hold on it
        // for another connection of this process.
        match private::create_new(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot_open(error)),
            _ => {}
        }
        let metadata = fs::metadata(&path).map_err(cannot_open)?;
        if let Some(problem) = private::exposure(&metadata, &path) {
            return Err(Error::new(ErrorKind::Config, problem));
        }
        Ok(Self { identity: (metadata.dev(), metadata.ino()), path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that was opened. SQLite would go on with one that was removed, and
    /// acknowledge what nobody will find again.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        match tokio::fs::metadata(&self.path).await {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => Ok(()),
            Ok(_) => Err(StoreError::Replaced),
            Err(_) => Err(StoreError::Missing),
        }
    }
}
