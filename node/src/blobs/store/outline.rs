//! The file beside a blob with its groups' chaining values. It can be computed again, so it is not made durable, and not
//! believed. Tests: `tests/store.rs`.

use crate::blobs::writer::create_private;
use ion_protocol::{
    BlobHash,
    blob::{Outline, group_count},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Where the outline of the blob at `path` lies.
pub(in crate::blobs) fn outline_path(path: &Path) -> PathBuf {
    path.with_extension("outline")
}

/// The outline in a file, if it is there and is this blob's.
pub(in crate::blobs) fn read_outline(path: &Path, hash: &BlobHash, bytes: u64) -> Option<Outline> {
    let groups = match group_count(bytes) {
        1 => Vec::new(),
        count => {
            let file = File::open(path).ok()?;
            let mut values = Vec::new();
            file.take(count.saturating_mul(32) + 1).read_to_end(&mut values).ok()?;
            let (values, rest) = values.as_chunks::<32>();
            if !rest.is_empty() {
                return None;
            }
            values.to_vec()
        }
    };
    Outline::verify(*hash, bytes, groups).ok()
}

/// Writes an outline; a torn one is found out when it is read.
pub(in crate::blobs) fn write_outline(path: &Path, outline: &Outline) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(outline.chaining_values().as_flattened())
}
