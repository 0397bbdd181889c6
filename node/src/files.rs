//! What the key file, the ledger and the blob store ask of a file system: private directories, durable names,
//! bounded reads, and "full" told apart from "broken".
//!
//! Decides nothing about content. Tests: below.

use rustix::fs::OFlags;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Only the owner lists and enters.
pub const DIR_MODE: u32 = 0o700;
/// Only the owner reads and writes.
pub const FILE_MODE: u32 = 0o600;

/// Makes `dir` and its parents, for the owner alone, and makes their names durable. A directory that is there stays as it is.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        Some(_) | None => sync_dir(Path::new(".")),
    }
}

/// Opens a file to read it. What is none (a pipe, a device, a directory) is refused, and not waited for.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file")),
    }
}

/// The content of a file, or `None` where it is longer than `max` bytes; no more than that is read.
pub fn read_at_most(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

/// Writes a file for the owner alone, durably, and in one step: whoever reads it finds all of it or what was there before.
/// Two writers of one file take turns.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes created, renamed and removed names in `dir` durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The permission bits of `path`.
pub fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Whether the directory `dir` lets others write into it, and is not of the kind (sticky, like `/tmp`) where that is harmless.
pub fn others_may_write(dir: &Path) -> io::Result<bool> {
    let mode = fs::metadata(dir)?.mode();
    Ok(mode & 0o022 != 0 && mode & 0o1000 == 0)
}

/// Whether a write failed for lack of room: on the disk, in the owner's quota, or under the process's file size limit.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_private_all_the_way() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        create_private_dir(&deep).unwrap();
        create_private_dir(&deep).unwrap();
        for dir in [root.path().join("a"), root.path().join("a/b"), deep] {
            assert_eq!(mode(&dir).unwrap(), DIR_MODE);
            assert!(!others_may_write(&dir).unwrap());
        }
    }
}
