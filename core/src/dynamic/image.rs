use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use object::{
    Endianness, FileKind, Object, ObjectSymbol, ReadCache, ReadRef,
    elf::{ET_DYN, FileHeader32, FileHeader64},
    read::elf::{ElfFile, FileHeader, ProgramHeader},
};
use ratebus_abi::{Plugin, SYMBOL};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{Refusal, Sha256, place};

/// More than any library has.
const LARGEST: u64 = 256 * 1024 * 1024;

/// The bytes of a library, copied once to where nobody can change them any more: what is hashed and checked is what is
/// loaded, whatever becomes of the file.
pub(super) struct Image {
    file: File,
    pub(super) sha256: Sha256,
}

impl Image {
    /// Copies the library `name` of the folder `dir`.
    pub(super) fn take(dir: &Path, name: &str) -> Result<Self, Refusal> {
        let from = place::open(dir, name)?;
        let unreadable = |error: &io::Error| Refusal::unreadable(dir.join(name), error);
        let mut file = sealed_copy(name, from.take(LARGEST + 1)).map_err(|error| unreadable(&error))?;
        if file.stream_position().map_err(|error| unreadable(&error))? > LARGEST {
            return Err(Refusal::TooLarge(LARGEST >> 20));
        }
        file.rewind().map_err(|error| unreadable(&error))?;
        let sha256 = Sha256::of(&file).map_err(|error| unreadable(&error))?;
        Ok(Self { file, sha256 })
    }

    /// Whether the dynamic linker may see it. It ends the process by a signal where a segment lies outside the file, and
    /// runs the code of what it loads: so whether it is one of ours is looked at before.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let cache = ReadCache::new(&self.file);
        match FileKind::parse(&cache) {
            Ok(FileKind::Elf64) if cfg!(target_pointer_width = "64") => check::<FileHeader64<Endianness>, _>(&cache),
            Ok(FileKind::Elf32) if cfg!(target_pointer_width = "32") => check::<FileHeader32<Endianness>, _>(&cache),
            Ok(FileKind::Elf32 | FileKind::Elf64) => Err(Refusal::WrongArchitecture),
            _ => Err(Refusal::NotALibrary("it does not begin as one")),
        }
    }

    /// Where the dynamic linker finds it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Its bytes, for another process.
    pub(super) fn descriptor(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Leaves it open for good, once it is loaded: the linker takes another file of its name for the same.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

fn sealed_copy(name: &str, mut from: impl Read) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    io::copy(&mut from, &mut file)?;
    file.flush()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

fn check<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Result<(), Refusal> {
    const HEADER: Refusal = Refusal::Truncated("its header is not whole");
    let header = H::parse(data).map_err(|_| HEADER)?;
    let endian = header.endian().map_err(|_| HEADER)?;
    if !machine_is_ours(header, endian) {
        return Err(Refusal::WrongArchitecture);
    }
    if header.e_type(endian) != ET_DYN {
        return Err(Refusal::NotALibrary("a program or an object file"));
    }
    let length = data.len().map_err(|()| HEADER)?;
    let segments = header.program_headers(endian, data).map_err(|_| HEADER)?;
    for segment in segments {
        let end = segment.p_offset(endian).into().checked_add(segment.p_filesz(endian).into());
        if end.is_none_or(|end| end > length) {
            return Err(Refusal::Truncated("a segment lies outside the file"));
        }
    }
    let file = ElfFile::<H, R>::parse(data).map_err(|_| Refusal::Truncated("its tables are not whole"))?;
    let mut symbols = file.dynamic_symbols().filter(ObjectSymbol::is_definition);
    let ours = symbols.find(|symbol| symbol.name() == Ok(SYMBOL)).ok_or(Refusal::MissingSymbol)?;
    if ours.size() < size_of::<Plugin>() as u64 { Err(Refusal::NotAPlugin) } else { Ok(()) }
}

fn machine_is_ours<H: FileHeader<Endian = Endianness>>(header: &H, endian: Endianness) -> bool {
    use object::elf::{EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64};

    let ours = match std::env::consts::ARCH {
        "x86_64" => EM_X86_64,
        "aarch64" => EM_AARCH64,
        "x86" => EM_386,
        "arm" => EM_ARM,
        "riscv64" => EM_RISCV,
        // The dynamic linker looks at it, too.
        _ => header.e_machine(endian),
    };
    header.e_machine(endian) == ours && header.is_little_endian() == cfg!(target_endian = "little")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    #[test]
    fn what_happens_to_the_file_after_the_copy_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs::write(&path, "what was checked").unwrap();
        let image = Image::take(folder.path(), "lib.so").unwrap();
        let (overwritten, swapped) =
            (fs::OpenOptions::new().write(true).open(&path).unwrap(), folder.path().join("new"));
        overwritten.write_all_at(b"something", 0).unwrap();
        fs::write(&swapped, "another file").unwrap();
        fs::rename(swapped, &path).unwrap();
        let (sha256, loaded) = (image.sha256, image.path());
        assert_eq!(fs::read(&loaded).unwrap(), b"what was checked");
        assert_eq!(place::sha256_of(&loaded).unwrap(), sha256);
        let refused = fs::OpenOptions::new().write(true).open(&loaded).and_then(|file| file.write_all_at(b"x", 0));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
