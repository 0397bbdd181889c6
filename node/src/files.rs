//! What the key file, the ledger and the blob store ask of a file system: private directories, durable names,
//! bounded reads, and "full" told apart from "broken".
//!
//! Decides nothing about content. Tests: below.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
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

/// The content of a file, or `None` where it is longer than `max` bytes; no more than that is read.
pub fn read_at_most(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
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
