//! A blob on its way into the store from this machine. Tests: `tests/store.rs`.

use super::store::{BlobStore, BlobStoreError};
use crate::files;
use ion_protocol::{
    BlobHash, Bytes,
    blob::{BlobError, OutlineBuilder},
    limits::BLOB_BYTES_MAX,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Takes bytes, then turns into a blob. Dropped before, it leaves nothing.
pub struct BlobWriter {
    store: BlobStore,
    builder: OutlineBuilder,
    file: File,
    path: PathBuf,
    reserved: u64,
}

impl BlobWriter {
    pub(super) fn new(store: BlobStore) -> Result<Self, BlobStoreError> {
        let path = store.draft_dir().join(format!("{:032x}", fastrand::u128(..)));
        let file = create_private(&path).map_err(store.io("create", &path))?;
        Ok(Self { store, builder: OutlineBuilder::default(), file, path, reserved: 0 })
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobStoreError> {
        let more = bytes.len() as u64;
        let whole = self.reserved.saturating_add(more);
        if whole > BLOB_BYTES_MAX {
            return Err(BlobError::TooLarge(whole).into());
        }
        self.store.reserve(more)?;
        self.reserved = whole;
        self.builder.update(bytes);
        self.file.write_all(bytes).map_err(self.store.io("write", &self.path))
    }

    /// The blob, in the store.
    pub fn finish(mut self) -> Result<(BlobHash, Bytes), BlobStoreError> {
        let (hash, outline) = std::mem::take(&mut self.builder).finish();
        self.store.adopt(&self.path, hash, &outline)?;
        // From here the reservation is the store's.
        let bytes = std::mem::take(&mut self.reserved);
        self.path = PathBuf::new();
        Ok((hash, Bytes(bytes)))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            self.store.release(self.reserved);
            // What stays behind is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes or empties a file that only its owner reads and writes.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(files::FILE_MODE).open(path)
}
