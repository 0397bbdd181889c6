//! The blob store as the workers see it: inputs to read, outputs to write.

use crate::{
    blobs::{BlobStore, BlobStoreError, BlobWriter},
    workers::{Blobs, NewBlob},
};
use ion_gpu::challenge;
use ion_protocol::{BlobHash, Bytes};
use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

impl Blobs for BlobStore {
    fn open(&self, hash: &BlobHash) -> io::Result<File> {
        self.file(hash).map_err(io_error)
    }

    fn at_hand(&self, hash: &BlobHash) -> Option<Arc<[u8]>> {
        // The node's own kernels are in the program, and in no store.
        if *hash == challenge::blob() {
            return Some(challenge::KERNELS.as_bytes().into());
        }
        BlobStore::at_hand(self, hash)
    }

    fn create(&self, _bytes: Bytes) -> io::Result<Box<dyn NewBlob>> {
        Ok(Box::new(Draft(self.writer().map_err(io_error)?)))
    }
}

struct Draft(BlobWriter);

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io_error)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewBlob for Draft {
    fn finish(self: Box<Self>) -> io::Result<BlobHash> {
        self.0.finish().map(|(hash, _)| hash).map_err(io_error)
    }
}

/// Full stays told apart from broken.
fn io_error(error: BlobStoreError) -> io::Error {
    let kind = match &error {
        BlobStoreError::Full { .. } | BlobStoreError::DiskFull { .. } => io::ErrorKind::StorageFull,
        BlobStoreError::NotHeld(_) | BlobStoreError::Decayed(_) => io::ErrorKind::NotFound,
        BlobStoreError::WrongSize { .. } | BlobStoreError::Blob(_) => io::ErrorKind::InvalidData,
        BlobStoreError::Io { source, .. } => source.kind(),
    };
    io::Error::new(kind, error)
}
