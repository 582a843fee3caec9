use std::{io, path::PathBuf};

use ratebus_abi::{MAJOR, SYMBOL};

use super::Sha256;

/// Why a library, or a component of one, is not used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// There is no such file, or no such folder.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// What was looked at.
        path: PathBuf,
        /// The operating system's words.
        error: String,
    },
    /// The name stands for another file.
    #[error("{path} is a symbolic link", path = .0.display())]
    Symlink(PathBuf),
    /// A folder, a pipe, a device.
    #[error("{path} is no regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// Somebody else could replace it.
    #[error("{path} belongs to user {owner}, not to root or the user that ratebus runs as", path = path.display())]
    ForeignOwner {
        /// The file or a folder above it.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could replace it.
    #[error("{path} can be written by others (mode {mode:04o})", path = path.display())]
    WritableByOthers {
        /// The file or a folder above it.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// More bytes than any library has.
    #[error("more than {0} MiB")]
    TooLarge(u64),
    /// Not the file that the config means.
    #[error("its sha256 is {found}")]
    WrongHash {
        /// What it is.
        found: Sha256,
    },
    /// Something else than a shared library.
    #[error("no shared library: {0}")]
    NotALibrary(&'static str),
    /// For other machines.
    #[error("built for another kind of machine")]
    WrongArchitecture,
    /// Cut off: loading it would end the process.
    #[error("incomplete: {0}")]
    Truncated(&'static str),
    /// A shared library, and not one of ours.
    #[error("it does not export {SYMBOL}")]
    MissingSymbol,
    /// The dynamic linker cannot use it: it needs others that are not there.
    #[error("it cannot be loaded: {0}")]
    NotLoaded(String),
    /// Loading it, or the end of a process that did, is the end of that process.
    #[error("a process that loads it does not live: {0}")]
    Crashes(String),
    /// Its descriptor is none.
    #[error("{SYMBOL} is not a descriptor of a plugin")]
    NotAPlugin,
    /// Made for another interface.
    #[error("it was built for version {0} of the interface, this is version {MAJOR}")]
    WrongVersion(u16),
    /// Its descriptor contradicts itself.
    #[error("its descriptor is wrong: {0}")]
    Malformed(String),
    /// It has other components.
    #[error("it has no {wanted:?}; it has: {found}")]
    MissingComponent {
        /// What `use` names.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A call did not return in time.
    #[error("`{0}` does not return")]
    Hangs(&'static str),
    /// A call failed by a fault of its own.
    #[error("`{0}` panicked: {1}")]
    Panics(&'static str, String),
}

impl Refusal {
    /// The reason as a metric label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Symlink(_) => "symlink",
            Self::NotAFile(_) => "not_a_file",
            Self::ForeignOwner { .. } => "foreign_owner",
            Self::WritableByOthers { .. } => "writable_by_others",
            Self::TooLarge(_) => "too_large",
            Self::WrongHash { .. } => "wrong_hash",
            Self::NotALibrary(_) => "not_a_library",
            Self::WrongArchitecture => "wrong_architecture",
            Self::Truncated(_) => "truncated",
            Self::MissingSymbol => "missing_symbol",
            Self::NotLoaded(_) => "not_loaded",
            Self::Crashes(_) => "crashes",
            Self::NotAPlugin => "not_a_plugin",
            Self::WrongVersion(_) => "wrong_version",
            Self::Malformed(_) => "malformed",
            Self::MissingComponent { .. } => "missing_component",
            Self::Hangs(_) => "hangs",
            Self::Panics(..) => "panics",
        }
    }

    pub(super) fn unreadable(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Unreadable { path: path.into(), error: error.to_string() }
    }
}
