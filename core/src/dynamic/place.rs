use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    str::FromStr,
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{Context, SHA256};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use serde::{Deserialize, Deserializer, de::Error};

use super::Refusal;

/// Which bytes a library has: the SHA-256 of its file, as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Of all that is read.
    pub(super) fn of(mut from: impl Read) -> io::Result<Self> {
        let (mut context, mut chunk) = (Context::new(&SHA256), [0; 16 * 1024]);
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => context.update(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Self(digest))
    }
}

/// The SHA-256 of a file, as `plugin.<name>.sha256` wants it.
pub fn sha256_of(path: &Path) -> io::Result<Sha256> {
    Sha256::of(File::open(path)?)
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("expected 64 hexadecimal digits: `ratebus plugins hash FILE` prints them")
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Opens the library `name` of the folder `dir`, if nobody but root and the user we run as could have put it there.
///
/// The name is followed once, and what it led to is checked through the opened file: it may be replaced afterwards.
pub(super) fn open(dir: &Path, name: &str) -> Result<File, Refusal> {
    let dir = fs::canonicalize(dir).map_err(|error| Refusal::unreadable(dir, &error))?;
    for folder in dir.ancestors() {
        let metadata = fs::symlink_metadata(folder).map_err(|error| Refusal::unreadable(folder, &error))?;
        // What lies in the folder itself has to be put there by us.
        let may_be_sticky = folder != dir;
        is_ours(folder, &metadata, may_be_sticky)?;
    }
    let path = dir.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(Refusal::Symlink(path)),
        Err(error) => return Err(Refusal::unreadable(path, &error.into())),
    };
    let metadata = file.metadata().map_err(|error| Refusal::unreadable(&path, &error))?;
    if !metadata.is_file() {
        return Err(Refusal::NotAFile(path));
    }
    is_ours(&path, &metadata, false)?;
    Ok(file)
}

/// Whether root or we own it, and nobody else can write it. In a folder with the sticky bit, such as `/tmp`, others can
/// add files, and neither rename nor remove what is ours: that is good enough above the folder of libraries.
fn is_ours(path: &Path, metadata: &Metadata, may_be_sticky: bool) -> Result<(), Refusal> {
    const ROOT: u32 = 0;
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o7777);
    if owner != ROOT && owner != geteuid().as_raw() {
        return Err(Refusal::ForeignOwner { path: path.into(), owner });
    }
    let sticky = may_be_sticky && mode & STICKY != 0;
    if mode & OTHERS_WRITE != 0 && !sticky {
        return Err(Refusal::WritableByOthers { path: path.into(), mode });
    }
    Ok(())
}
