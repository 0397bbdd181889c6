//! The blob store: content by its hash, on disk, within a quota.
//!
//! ```text
//! blobs/ab/<hex>            a whole blob; appears under this name by one rename
//! blobs/ab/<hex>.outline    its groups' chaining values; recomputed when missing or wrong
//! blobs/partial/<hex>       groups of a transfer that is under way or was cut off (`partial`)
//! blobs/draft/<random>      being written; removed at the next start (`writer`)
//! ```
//! What was not written by this run of the node is hashed before it is used for the first time, so neither a loss of
//! power nor a decayed disk can pass for content. When room is needed, the blobs used longest ago go first; never one
//! that is held here or in use by a job. Calls block: use them off the async threads. Tests: `tests/store.rs`.

mod at_hand;
mod hold;
mod outline;

pub use hold::Hold;
pub(super) use outline::{outline_path, read_outline, write_outline};

use super::{partial::Partial, writer::BlobWriter};
use crate::files;
use ion_protocol::{
    BlobHash, Bytes,
    blob::{BlobError, Outline, OutlineBuilder},
    limits::BLOB_BYTES_MAX,
};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

/// Name of the directory in the data directory.
pub const BLOBS_DIR: &str = "blobs";
/// What is read at once when a file is hashed or copied: a few groups.
const COPY_BYTES: usize = 1024 * 1024;

/// Why a blob can't be kept or had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BlobStoreError {
    #[error("blob {0} is not held here")]
    NotHeld(BlobHash),
    #[error("blob {0} had decayed on the disk and was removed; fetch or import it again")]
    Decayed(BlobHash),
    #[error(
        "the blob store is full: {used} of {quota} and {wanted} more wanted, and jobs need what it holds; raise \
         `--blob-quota`, or wait until jobs have ended"
    )]
    Full { used: Bytes, quota: Bytes, wanted: Bytes },
    #[error("the disk under {dir} is full; make room there, or lower `--blob-quota`")]
    DiskFull { dir: PathBuf },
    #[error("blob {hash} has {found}, not the {declared} declared")]
    WrongSize { hash: BlobHash, found: Bytes, declared: Bytes },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Says whether a job needs a blob. May be called from any thread; must not block for long.
pub type InUse = Arc<dyn Fn(&BlobHash) -> bool + Send + Sync>;

/// The blob store of this node; clones share it.
#[derive(Clone)]
pub struct BlobStore {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    quota: u64,
    in_use: OnceLock<InUse>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    whole: HashMap<BlobHash, Whole>,
    partial: HashMap<BlobHash, Remains>,
    holds: HashMap<BlobHash, usize>,
    at_hand: at_hand::AtHand,
    /// Bytes of all whole and partial blobs and drafts, reserved ones included.
    used: u64,
    /// Counts uses, to tell which were longest ago.
    clock: u64,
}

struct Whole {
    bytes: u64,
    used_at: u64,
    /// Written by this run, or hashed by it.
    verified: bool,
    synced: bool,
}

/// A blob that is not whole.
struct Remains {
    bytes: u64,
    used_at: u64,
    active: bool,
}

impl BlobStore {
    /// Opens or makes the store in the data directory `dir`.
    pub fn open(dir: &Path, quota: Bytes) -> Result<Self, BlobStoreError> {
        let root = dir.join(BLOBS_DIR);
        let shared = Shared { root, quota: quota.0, in_use: OnceLock::new(), state: Mutex::default() };
        let store = Self { shared: Arc::new(shared) };
        for name in [PARTIAL_DIR, DRAFT_DIR] {
            let dir = store.root().join(name);
            files::create_private_dir(&dir).map_err(store.io("create", &dir))?;
        }
        store.scan().map_err(store.io("read", store.root()))?;
        Ok(store)
    }

    /// Says which blobs jobs need; they are never evicted. Only the first call counts.
    pub fn keep_while(&self, in_use: InUse) {
        let _ = self.shared.in_use.set(in_use);
    }

    /// Whether the whole blob is here.
    pub fn contains(&self, hash: &BlobHash) -> bool {
        self.lock().whole.contains_key(hash)
    }

    /// Its size, if it is here.
    pub fn size(&self, hash: &BlobHash) -> Option<Bytes> {
        self.lock().whole.get(hash).map(|whole| Bytes(whole.bytes))
    }

    /// Bytes used of the quota.
    pub fn used(&self) -> Bytes {
        Bytes(self.lock().used)
    }

    /// The quota.
    pub fn quota(&self) -> Bytes {
        Bytes(self.shared.quota)
    }

    /// Where a blob lies, to be read only; its content is what its hash says. A [`Hold`] keeps it there.
    pub fn path(&self, hash: &BlobHash) -> Result<PathBuf, BlobStoreError> {
        let (verified, refresh) = {
            let mut state = self.lock();
            state.clock += 1;
            let clock = state.clock;
            let whole = state.whole.get_mut(hash).ok_or(BlobStoreError::NotHeld(*hash))?;
            whole.used_at = clock;
            (whole.verified, !whole.verified)
        };
        let path = self.whole_path(hash);
        if !path.exists() {
            tracing::warn!(%hash, "a blob's file is gone");
            self.forget(hash).map_err(self.io("remove", &path))?;
            return Err(BlobStoreError::NotHeld(*hash));
        }
        if !verified {
            self.verify(hash, &path)?;
        }
        if refresh {
            // The order of use outlives the process by the files' times, roughly; without it only the order is lost.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Ok(path)
    }

    /// A blob's bytes.
    pub fn read(&self, hash: &BlobHash) -> Result<Vec<u8>, BlobStoreError> {
        let path = self.path(hash)?;
        let bytes = fs::read(&path).map_err(self.io("read", &path))?;
        self.keep_at_hand(*hash, &bytes);
        Ok(bytes)
    }

    /// A blob's open file.
    pub fn file(&self, hash: &BlobHash) -> Result<File, BlobStoreError> {
        let path = self.path(hash)?;
        File::open(&path).map_err(self.io("open", &path))
    }

    /// Keeps `bytes`. A repeat changes nothing.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobHash, BlobStoreError> {
        let hash = BlobHash::of(bytes);
        self.keep_at_hand(hash, bytes);
        if self.path(&hash).is_ok() {
            return Ok(hash);
        }
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        Ok(writer.finish()?.0)
    }

    /// Copies the file `path` in, and says what it is; it may hold so much.
    pub fn import(&self, path: &Path, bytes_max: Bytes) -> Result<(BlobHash, Bytes), BlobStoreError> {
        let (file, mut left) = (files::open_file(path).map_err(self.io("read", path))?, bytes_max.0);
        let mut writer = self.writer()?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match (&file).read(&mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(n) if n as u64 > left => {
                    let why = format!("it is longer than the {} bytes it had", bytes_max.0);
                    return Err(self.io("read", path)(io::Error::other(why)));
                }
                Ok(n) => {
                    left -= n as u64;
                    writer.write(&buffer[..n])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io("read", path)(error)),
            }
        }
    }

    /// Takes a blob in piece by piece.
    pub fn writer(&self) -> Result<BlobWriter, BlobStoreError> {
        BlobWriter::new(self.clone())
    }

    /// The chaining values of a blob's groups.
    pub fn outline(&self, hash: &BlobHash) -> Result<Outline, BlobStoreError> {
        let path = self.path(hash)?;
        let bytes = self.size(hash).ok_or(BlobStoreError::NotHeld(*hash))?;
        match read_outline(&outline_path(&path), hash, bytes.0) {
            Some(outline) => Ok(outline),
            None => self.verify(hash, &path),
        }
    }

    /// Returns once these blobs survive a loss of power.
    pub fn make_durable(&self, hashes: &[BlobHash]) -> Result<(), BlobStoreError> {
        for hash in hashes {
            match self.lock().whole.get(hash) {
                None => return Err(BlobStoreError::NotHeld(*hash)),
                Some(whole) if whole.synced => continue,
                Some(_) => {}
            }
            let path = self.whole_path(hash);
            let dir = path.parent().unwrap_or(self.root());
            let synced =
                File::open(&path).and_then(|file| file.sync_all()).and_then(|()| files::sync_dir(dir));
            synced.map_err(self.io("sync", &path))?;
            if let Some(whole) = self.lock().whole.get_mut(hash) {
                whole.synced = true;
            }
        }
        Ok(())
    }

    /// Hashes a blob, makes its outline, and removes it if it is not what its name says.
    fn verify(&self, hash: &BlobHash, path: &Path) -> Result<Outline, BlobStoreError> {
        let (found, outline) = hash_file(path).map_err(self.io("read", path))?;
        if found != *hash {
            tracing::warn!(%hash, "a blob decayed on the disk; removed");
            self.forget(hash).map_err(self.io("remove", path))?;
            return Err(BlobStoreError::Decayed(*hash));
        }
        self.keep_outline(path, &outline);
        if let Some(whole) = self.lock().whole.get_mut(hash) {
            whole.verified = true;
        }
        Ok(outline)
    }

    /// Writes an outline beside its blob. It can be computed again, so failing is no error.
    pub(super) fn keep_outline(&self, path: &Path, outline: &Outline) {
        if outline.group_count() > 1
            && let Err(error) = write_outline(&outline_path(path), outline)
        {
            tracing::debug!(%error, path = %path.display(), "an outline was not kept");
        }
    }

    /// Takes the complete file `from`, of `bytes` bytes that are reserved already, as the blob `hash`.
    pub(super) fn adopt(&self, from: &Path, hash: BlobHash, outline: &Outline) -> Result<(), BlobStoreError> {
        let path = self.whole_path(&hash);
        let dir = path.parent().unwrap_or(self.root());
        files::create_private_dir(dir).map_err(self.io("create", dir))?;
        let mut state = self.lock();
        if state.whole.contains_key(&hash) {
            drop(state);
            self.release(outline.bytes());
            return fs::remove_file(from).map_err(self.io("remove", from));
        }
        fs::rename(from, &path).map_err(self.io("name", &path))?;
        state.clock += 1;
        let used_at = state.clock;
        state.whole.insert(hash, Whole { bytes: outline.bytes(), used_at, verified: true, synced: false });
        drop(state);
        self.keep_outline(&path, outline);
        Ok(())
    }

    /// Marks what a cut off transfer left as being worked on, and reserves room for the rest.
    pub(super) fn start_partial(&self, hash: BlobHash, bytes: u64) -> Result<(), BlobStoreError> {
        // Active first, so that making room does not remove it.
        let there = {
            let mut state = self.lock();
            state.clock += 1;
            let used_at = state.clock;
            let remains = state.partial.entry(hash).or_insert(Remains { bytes: 0, used_at, active: true });
            (remains.active, remains.used_at) = (true, used_at);
            remains.bytes
        };
        if let Err(error) = self.reserve(bytes.saturating_sub(there)) {
            self.end_partial(&hash, there);
            return Err(error);
        }
        let mut state = self.lock();
        // A file that was longer than the blob is cut.
        state.used = state.used.saturating_sub(there.saturating_sub(bytes));
        if let Some(remains) = state.partial.get_mut(&hash) {
            remains.bytes = bytes;
        }
        Ok(())
    }

    /// Leaves `bytes` of an unfinished transfer for later.
    pub(super) fn end_partial(&self, hash: &BlobHash, bytes: u64) {
        let mut state = self.lock();
        let Some(remains) = state.partial.get_mut(hash) else { return };
        let before = remains.bytes;
        (remains.bytes, remains.active) = (bytes, false);
        if bytes == 0 {
            state.partial.remove(hash);
        }
        state.used = state.used.saturating_sub(before) + bytes;
    }

    /// A finished transfer is no partial blob any more; its reservation goes on to the whole one.
    pub(super) fn finish_partial(&self, hash: &BlobHash) {
        self.lock().partial.remove(hash);
    }

    /// Continues or begins the transfer of a blob, if its outline is known from an earlier try.
    pub(super) fn resume(&self, hash: BlobHash, bytes: u64) -> Result<Option<Partial>, BlobStoreError> {
        Partial::resume(self.clone(), hash, bytes)
    }

    /// Begins the transfer of a blob, from nothing.
    pub(super) fn begin(&self, hash: BlobHash, outline: Outline) -> Result<Partial, BlobStoreError> {
        Partial::begin(self.clone(), hash, outline)
    }

    /// Sets `bytes` aside, evicting what was used longest ago if it must and may.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), BlobStoreError> {
        // A blob may come into use between the choice and the removal: then choose again.
        loop {
            let (candidates, wanted) = {
                let mut state = self.lock();
                if state.used.saturating_add(bytes) <= self.shared.quota {
                    state.used += bytes;
                    return Ok(());
                }
                let over = state.used.saturating_add(bytes) - self.shared.quota;
                (state.candidates(), over)
            };
            // Asked without the lock: the answer may need locks of its own. No further than there is need: each
            // question is the driver's to answer.
            let in_use = |hash: &BlobHash| self.shared.in_use.get().is_some_and(|in_use| in_use(hash));
            let (mut free, mut room) = (Vec::new(), 0u64);
            for candidate in candidates {
                if room >= wanted {
                    break;
                }
                if !in_use(&candidate.hash) {
                    room = room.saturating_add(candidate.bytes);
                    free.push(candidate);
                }
            }
            let mut state = self.lock();
            let over = state.used.saturating_add(bytes).saturating_sub(self.shared.quota);
            if room < over {
                if room >= wanted {
                    // More was reserved in the meantime.
                    continue;
                }
                let (used, quota) = (Bytes(state.used), Bytes(self.shared.quota));
                return Err(BlobStoreError::Full { used, quota, wanted: Bytes(bytes) });
            }
            let mut freed = 0;
            for candidate in free {
                if freed >= over {
                    break;
                }
                if state.candidate_unchanged(&candidate) {
                    freed += candidate.bytes;
                    self.evict(&mut state, &candidate)?;
                }
            }
        }
    }

    /// Gives back what was reserved.
    pub(super) fn release(&self, bytes: u64) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(bytes);
    }

    fn evict(&self, state: &mut State, candidate: &Candidate) -> Result<(), BlobStoreError> {
        let path = match candidate.partial {
            true => self.partial_path(&candidate.hash),
            false => self.whole_path(&candidate.hash),
        };
        remove_with_outline(&path).map_err(self.io("remove", &path))?;
        if candidate.partial {
            state.partial.remove(&candidate.hash);
        } else {
            state.whole.remove(&candidate.hash);
        }
        state.used = state.used.saturating_sub(candidate.bytes);
        tracing::debug!(hash = %candidate.hash, bytes = candidate.bytes, "evicted a blob");
        Ok(())
    }

    fn forget(&self, hash: &BlobHash) -> io::Result<()> {
        let mut state = self.lock();
        remove_with_outline(&self.whole_path(hash))?;
        if let Some(whole) = state.whole.remove(hash) {
            state.used = state.used.saturating_sub(whole.bytes);
        }
        Ok(())
    }

    /// Takes stock of what earlier runs left.
    fn scan(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root())? {
            let (dir, name) = named(entry?);
            match name.as_str() {
                DRAFT_DIR => {
                    for draft in fs::read_dir(&dir)? {
                        // What can't be removed is none of ours.
                        let _ = fs::remove_file(draft?.path());
                    }
                }
                PARTIAL_DIR => found.extend(blobs_in(&dir)?.into_iter().map(|blob| (blob, true))),
                _ if name.len() == 2 && dir.is_dir() => {
                    found.extend(blobs_in(&dir)?.into_iter().map(|blob| (blob, false)))
                }
                _ => {}
            }
        }
        found.sort_by_key(|((_, _, modified), _)| *modified);
        let mut state = self.lock();
        for ((hash, bytes, _), partial) in found {
            state.clock += 1;
            let used_at = state.clock;
            state.used += bytes;
            if partial {
                state.partial.insert(hash, Remains { bytes, used_at, active: false });
            } else {
                state.whole.insert(hash, Whole { bytes, used_at, verified: false, synced: false });
            }
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.shared.root
    }

    fn whole_path(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root().join(&name[..2]).join(name)
    }

    pub(super) fn partial_path(&self, hash: &BlobHash) -> PathBuf {
        self.root().join(PARTIAL_DIR).join(hash.to_string())
    }

    pub(super) fn draft_dir(&self) -> PathBuf {
        self.root().join(DRAFT_DIR)
    }

    /// Tells a full disk from all else that can go wrong with a file.
    pub(super) fn io(
        &self,
        action: &'static str,
        path: &Path,
    ) -> impl Fn(io::Error) -> BlobStoreError + use<> {
        let (path, dir) = (path.to_owned(), self.root().to_owned());
        move |source| match files::is_full(&source) {
            true => BlobStoreError::DiskFull { dir: dir.clone() },
            false => BlobStoreError::Io { action, path: path.clone(), source },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PARTIAL_DIR: &str = "partial";
const DRAFT_DIR: &str = "draft";

/// Something that may be evicted.
struct Candidate {
    hash: BlobHash,
    bytes: u64,
    used_at: u64,
    partial: bool,
}

impl State {
    /// What nobody here holds: first what is left of transfers, then whole blobs, each by last use.
    fn candidates(&self) -> Vec<Candidate> {
        let partial = self.partial.iter().filter(|(_, remains)| !remains.active).map(|(hash, remains)| {
            Candidate { hash: *hash, bytes: remains.bytes, used_at: remains.used_at, partial: true }
        });
        let whole =
            self.whole.iter().filter(|(hash, _)| !self.holds.contains_key(*hash)).map(|(hash, whole)| {
                Candidate { hash: *hash, bytes: whole.bytes, used_at: whole.used_at, partial: false }
            });
        let mut candidates: Vec<_> = partial.chain(whole).collect();
        candidates.sort_by_key(|c| (!c.partial, c.used_at));
        candidates
    }

    fn candidate_unchanged(&self, candidate: &Candidate) -> bool {
        let hash = &candidate.hash;
        match candidate.partial {
            true => self.partial.get(hash).is_some_and(|r| !r.active && r.used_at == candidate.used_at),
            false => {
                let same = |whole: &Whole| whole.used_at == candidate.used_at;
                !self.holds.contains_key(hash) && self.whole.get(hash).is_some_and(same)
            }
        }
    }
}

fn named(entry: fs::DirEntry) -> (PathBuf, String) {
    (entry.path(), entry.file_name().to_string_lossy().into_owned())
}

/// The files in `dir` that are named like blobs, with size and time of last use.
fn blobs_in(dir: &Path) -> io::Result<Vec<(BlobHash, u64, SystemTime)>> {
    let mut blobs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let (path, name) = named(entry?);
        if let (Ok(hash), Ok(metadata)) = (name.parse(), fs::metadata(&path))
            && metadata.is_file()
        {
            blobs.push((hash, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    Ok(blobs)
}

fn hash_file(path: &Path) -> io::Result<(BlobHash, Outline)> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > BLOB_BYTES_MAX {
        return Err(io::Error::other("larger than any blob"));
    }
    let (mut builder, mut buffer) = (OutlineBuilder::default(), vec![0; COPY_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(builder.finish()),
            Ok(n) => builder.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes a blob's file and its outline; neither needs to be there.
pub(super) fn remove_with_outline(path: &Path) -> io::Result<()> {
    for path in [path, &outline_path(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
