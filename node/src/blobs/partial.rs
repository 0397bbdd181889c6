//! A blob on its way into the store from peers: group by group, each verified before it is written.
//!
//! Nothing on disk says which groups are there: after a restart they are hashed against the outline, so a write that
//! never reached the disk can't pass for one that did. Tests: `tests/transfer.rs`.

use super::{
    store::{BlobStore, BlobStoreError, outline_path, read_outline, write_outline},
    writer::create_private,
};
use ion_protocol::{BlobHash, blob::Outline, limits::BLOB_GROUP_BYTES};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

/// Written bytes after which the disk is set to work, while more arrive: otherwise all of a large blob would wait for it
/// at the end.
const SYNC_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Dropped before it is whole, it stays for a later try.
pub(super) struct Partial {
    store: BlobStore,
    hash: BlobHash,
    outline: Outline,
    file: Arc<File>,
    path: PathBuf,
    syncing: Syncing,
    held: Vec<bool>,
    held_bytes: u64,
    /// Bytes up to the end of the last group written.
    extent: u64,
    finished: bool,
}

impl Partial {
    pub(super) fn begin(store: BlobStore, hash: BlobHash, outline: Outline) -> Result<Self, BlobStoreError> {
        let path = store.partial_path(&hash);
        store.start_partial(hash, outline.bytes())?;
        let made = create_private(&path).and_then(|file| {
            if outline.group_count() > 1 {
                write_outline(&outline_path(&path), &outline)?;
            }
            Ok(file)
        });
        match made.map_err(store.io("create", &path)) {
            Ok(file) => Ok(Self::new(store, hash, outline, file, path)),
            Err(error) => {
                store.end_partial(&hash, 0);
                Err(error)
            }
        }
    }

    /// What an earlier transfer left, if its outline is there and right.
    pub(super) fn resume(
        store: BlobStore,
        hash: BlobHash,
        bytes: u64,
    ) -> Result<Option<Self>, BlobStoreError> {
        let path = store.partial_path(&hash);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store.io("open", &path)(error)),
        };
        let Some(outline) = read_outline(&outline_path(&path), &hash, bytes) else { return Ok(None) };
        store.start_partial(hash, bytes)?;
        let mut partial = Self::new(store, hash, outline, file, path);
        partial.take_stock().map_err(partial.store.io("read", &partial.path))?;
        Ok(Some(partial))
    }

    fn new(store: BlobStore, hash: BlobHash, outline: Outline, file: File, path: PathBuf) -> Self {
        let held = vec![false; outline.group_count() as usize];
        let (file, syncing) = (Arc::new(file), Syncing::default());
        Self { store, hash, outline, file, path, syncing, held, held_bytes: 0, extent: 0, finished: false }
    }

    fn take_stock(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length > self.outline.bytes() {
            self.file.set_len(self.outline.bytes())?;
        }
        let mut buffer = vec![0; BLOB_GROUP_BYTES as usize];
        for group in 0..self.outline.group_count() {
            let bytes = self.outline.group_bytes(group);
            let offset = group * BLOB_GROUP_BYTES;
            if offset + bytes > length {
                break;
            }
            let buffer = &mut buffer[..bytes as usize];
            self.file.read_exact_at(buffer, offset)?;
            if self.outline.check_group(group, buffer).is_ok() {
                self.mark(group);
            }
        }
        Ok(())
    }

    fn mark(&mut self, group: u64) {
        let bytes = self.outline.group_bytes(group);
        self.held[group as usize] = true;
        self.held_bytes += bytes;
        self.extent = self.extent.max(group * BLOB_GROUP_BYTES + bytes);
    }

    /// Checks a group and writes it. A group that is held already changes nothing.
    pub(super) fn write(&mut self, group: u64, bytes: &[u8]) -> Result<(), BlobStoreError> {
        self.outline.check_group(group, bytes)?;
        if self.held[group as usize] {
            return Ok(());
        }
        let written = self.file.write_all_at(bytes, group * BLOB_GROUP_BYTES);
        written.map_err(self.store.io("write", &self.path))?;
        self.mark(group);
        self.syncing.wrote(bytes.len() as u64, &self.file);
        Ok(())
    }

    /// Bytes verified and written.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Groups that are missing: first and count of each run of at most `run_max`.
    pub(super) fn missing(&self, run_max: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (group, _) in self.held.iter().enumerate().filter(|(_, held)| !**held) {
            let group = group as u64;
            match runs.last_mut() {
                Some((first, count)) if *first + *count == group && *count < run_max => *count += 1,
                Some(_) | None => runs.push((group, 1)),
            }
        }
        runs
    }

    /// Turns into the whole blob.
    pub(super) fn finish(mut self) -> Result<(), BlobStoreError> {
        assert!(self.held.iter().all(|held| *held), "a blob is finished when it is whole");
        // A failed sync is told once and to whoever asks first, so the one at the end would not hear of it.
        if let Some(error) = self.syncing.error() {
            self.held_bytes = 0;
            return Err(self.store.io("sync", &self.path)(error));
        }
        // Named first: on failure the groups stay for a later try.
        self.store.adopt(&self.path, self.hash, &self.outline)?;
        self.finished = true;
        self.store.finish_partial(&self.hash);
        let _ = std::fs::remove_file(outline_path(&self.path));
        Ok(())
    }
}

/// Syncs on another thread what was written so far, one sync at a time.
#[derive(Default)]
struct Syncing {
    since: u64,
    running: Option<JoinHandle<io::Result<()>>>,
    failed: Option<io::Error>,
}

impl Syncing {
    fn wrote(&mut self, bytes: u64, file: &Arc<File>) {
        self.since += bytes;
        if self.since < SYNC_EVERY_BYTES || self.running.as_ref().is_some_and(|sync| !sync.is_finished()) {
            return;
        }
        self.wait();
        self.since = 0;
        let file = file.clone();
        let sync = thread::Builder::new().name("ion-blob-sync".to_owned());
        // Without a thread to spare, the sync at the end has more to do.
        self.running = sync.spawn(move || file.sync_data()).ok();
    }

    fn wait(&mut self) {
        let joined = self.running.take().map(JoinHandle::join);
        if let Some(Err(error)) =
            joined.map(|joined| joined.unwrap_or_else(|_| Err(io::Error::other("panicked"))))
        {
            self.failed = Some(error);
        }
    }

    /// Why a sync failed, once none runs any more.
    fn error(&mut self) -> Option<io::Error> {
        self.wait();
        self.failed.take()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.held_bytes == 0 {
            // What stays behind is overwritten or evicted later.
            let _ = super::store::remove_with_outline(&self.path);
            self.store.end_partial(&self.hash, 0);
        } else {
            self.store.end_partial(&self.hash, self.extent);
        }
    }
}
