//! The one door to sled: an ordered map of bytes that may be lost or damaged at any time without harm.
//!
//! sled 0.34 panics on damaged files, and fails to open over a snapshot it was writing when it was killed. So every call
//! is caught, and whoever uses this rebuilds it from the journal when a call fails. A file beside the directory says that
//! an open is under way: if the process died of it (out of memory, an abort), the next one starts from nothing. And it
//! can lock itself up under a burst of changes, so its writes are waited for now and then.
//! One thread uses a [`Kv`]. Tests: `tests/index.rs`.

use crate::files;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Pages kept in memory: receipts are read rarely, and idle nodes should be small.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that are set before they should be written.
const UNWRITTEN_BYTES_MAX: usize = 1024 * 1024;

/// Writes after which sled's own are waited for. It cuts its file by the same few threads that write it, under a
/// lock that each write takes: with many writes under way it waits for itself for ever.
const SETTLE_EVERY: u32 = 64;

/// Why the index can't be used as it is.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KvError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("sled: {0}")]
    Sled(String),
    #[error("sled panicked: {0}")]
    Panicked(String),
}

/// Keys and values, in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A map of bytes.
#[derive(Debug)]
pub struct Kv {
    db: sled::Db,
    file: File,
    /// What was set since the last [`Kv::write`].
    unwritten: BTreeMap<Vec<u8>, Vec<u8>>,
    unwritten_bytes: usize,
    unsettled: u32,
    failed: bool,
}

impl Kv {
    /// Opens or makes the map in `dir`.
    pub fn open(dir: &Path) -> Result<Self, KvError> {
        let mark = opening_mark(dir);
        if mark.exists() {
            tracing::warn!(dir = %dir.display(), "opening the receipt index did not end last time; rebuilding it");
            remove(dir)?;
        }
        File::create(&mark)?;
        remove_unfinished_snapshots(dir)?;
        let opened = guard(|| {
            sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(None)
                .open()
        });
        fs::remove_file(&mark)?;
        let db = opened?;
        let file = File::open(dir.join("db"))?;
        Ok(Self { db, file, unwritten: BTreeMap::new(), unwritten_bytes: 0, unsettled: 0, failed: false })
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        if let Some(value) = self.unwritten.get(key) {
            return Ok(Some(value.clone()));
        }
        self.call(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Up to `max` written entries whose keys begin with `prefix` and come after `after`, in order of their keys.
    pub fn list(&mut self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Entries, KvError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let start = after.map_or(Included(prefix), Excluded);
        self.call(|db| {
            db.range::<&[u8], _>((start, Unbounded))
                .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
                .take(max)
                .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    /// Sets a value: [`Kv::get`] sees it, and [`Kv::write`] writes it.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.unwritten_bytes += key.len() + value.len();
        self.unwritten.insert(key.to_vec(), value.to_vec());
    }

    /// Whether nothing was set since the last [`Kv::write`].
    pub fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Whether so much was set that it should be written.
    pub fn is_full(&self) -> bool {
        self.unwritten_bytes >= UNWRITTEN_BYTES_MAX
    }

    /// Writes all that was set, together or not at all.
    pub fn write(&mut self) -> Result<(), KvError> {
        self.unsettled += 1;
        if self.unsettled >= SETTLE_EVERY {
            self.unsettled = 0;
            self.call(|db| db.flush().map(|_| ()))?;
        }
        let mut batch = sled::Batch::default();
        for (key, value) in std::mem::take(&mut self.unwritten) {
            batch.insert(key, value);
        }
        self.unwritten_bytes = 0;
        self.call(|db| db.apply_batch(batch))
    }

    /// Makes what is written durable: sled's own flush leaves out the disk's cache and the file's length.
    pub fn flush(&mut self) -> Result<(), KvError> {
        self.call(|db| db.flush().map(|_| ()))?;
        Ok(self.file.sync_data()?)
    }

    fn call<T>(&mut self, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, KvError> {
        let db = &self.db;
        let result = guard(|| act(db));
        self.failed |= matches!(result, Err(KvError::Panicked(_)));
        result
    }
}

impl Kv {
    /// Ends the use of the map. After a panic it is left in memory: its destructor would go through the same damage.
    pub fn close(self) {
        if self.failed {
            return std::mem::forget(self.db);
        }
        let db = self.db;
        let close = || {
            drop(db);
            Ok(())
        };
        if let Err(error) = guard(close) {
            tracing::warn!(%error, "closing the receipt index");
        }
    }
}

/// Removes the map in `dir` and all traces of it.
pub fn remove(dir: &Path) -> io::Result<()> {
    for result in [fs::remove_dir_all(dir), fs::remove_file(opening_mark(dir))] {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn opening_mark(dir: &Path) -> PathBuf {
    dir.with_extension("opening")
}

fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    files::create_private_dir(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn guard<T>(act: impl FnOnce() -> sled::Result<T>) -> Result<T, KvError> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(KvError::Sled(error.to_string())),
        Err(panic) => Err(KvError::Panicked(panic_text(&*panic))),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
