//! Brings blobs from one peer: requests in a window, every group verified before it is written, and a second connection
//! where the first one fails.
//!
//! Bytes are read on the async side and hashed and written on a blocking thread, a few groups apart. What was verified
//! stays when a fetch ends early, whoever continues it. Tests: `tests/transfer.rs`.

use super::{
    partial::Partial,
    service::Patience,
    store::{BlobStore, BlobStoreError},
    stream::{ByteStream, Opener},
    wire::{self, StreamError},
};
use ion_protocol::{
    BlobHash, Bytes, NodeId,
    blob::{BlobError, BlobRequest, BlobResponse, Outline, group_count},
    limits::{BLOB_BYTES_MAX, BLOB_GROUP_BYTES},
};
use ion_scheduler::input::FetchFault;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

/// Groups asked for and not yet here: 8 MiB cover 100 ms of round trip at 80 MiB/s.
const WINDOW_GROUPS: u64 = 32;
/// Groups of one request: the window holds four of them, so that one is always on its way.
const RUN_GROUPS: u64 = 8;
/// Groups that wait to be hashed and written.
const HASHING_GROUPS: usize = 16;
/// Room of a response beside its chaining values.
pub(super) const RESPONSE_HEAD_BYTES: usize = 64;

/// Why blobs did not come. Told to people.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    #[error("{} could not be reached for blobs ({why})", peer.short())]
    Unreachable { peer: NodeId, why: String },
    #[error("the transfer from {} failed twice without progress: {source}", peer.short())]
    Stream { peer: NodeId, source: StreamError },
    #[error("{} does not hold blob {hash}", peer.short())]
    NotFound { peer: NodeId, hash: BlobHash },
    #[error("{} serves too many transfers already", peer.short())]
    Busy { peer: NodeId },
    #[error("{} says that blob {hash} has {found}, not {declared}", peer.short())]
    WrongSize { peer: NodeId, hash: BlobHash, found: Bytes, declared: Bytes },
    #[error("{} sent wrong bytes for blob {hash}: {source}", peer.short())]
    WrongBytes { peer: NodeId, hash: BlobHash, source: BlobError },
    #[error(transparent)]
    Store(#[from] BlobStoreError),
    #[error("this node could not go on: {0}")]
    Internal(String),
}

impl From<FetchError> for FetchFault {
    fn from(error: FetchError) -> Self {
        let why = error.to_string();
        match error {
            FetchError::Unreachable { .. }
            | FetchError::Stream { .. }
            | FetchError::NotFound { .. }
            | FetchError::Busy { .. }
            | FetchError::WrongSize { .. }
            | FetchError::WrongBytes { .. }
            // A size that can't be, or not of this blob: whoever said it is wrong.
            | FetchError::Store(BlobStoreError::WrongSize { .. } | BlobStoreError::Blob(_)) => Self::Source(why),
            FetchError::Store(
                BlobStoreError::NotHeld(_)
                | BlobStoreError::Decayed(_)
                | BlobStoreError::Full { .. }
                | BlobStoreError::DiskFull { .. }
                | BlobStoreError::Io { .. },
            )
            | FetchError::Internal(_) => Self::Here(why),
        }
    }
}

/// Nobody else works on a blob while this or a clone of it lives.
pub(super) type MyTurn = Arc<OwnedMutexGuard<()>>;

/// One peer to fetch from, over as many streams as it takes, one at a time.
pub(super) struct Source {
    pub(super) store: BlobStore,
    pub(super) opener: Opener,
    pub(super) peer: NodeId,
    pub(super) addresses: Vec<String>,
    pub(super) patience: Patience,
    pub(super) stream: Option<ByteStream>,
    pub(super) turn: Option<MyTurn>,
}

impl Source {
    /// Brings one blob here, unless it is. `held` follows the bytes that are; `moved` is called now and then.
    pub(super) async fn fetch(
        &mut self,
        hash: BlobHash,
        declared: Bytes,
        held: &Arc<AtomicU64>,
        moved: &mut (dyn FnMut() + Send),
    ) -> Result<(), FetchError> {
        if declared.0 > BLOB_BYTES_MAX {
            return Err(BlobStoreError::Blob(BlobError::TooLarge(declared.0)).into());
        }
        let (mut failures, mut busy, mut best) = (0, 0, 0);
        loop {
            let error = match self.try_fetch(hash, declared, held, moved).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.stream = None;
            // Whoever got further may fail again: a bad link is not a dead one, and a blob has only so many groups.
            if held.load(Ordering::Relaxed) > best {
                (best, failures) = (held.load(Ordering::Relaxed), 0);
            }
            match &error {
                FetchError::Stream { .. } | FetchError::Unreachable { .. }
                    if failures < self.patience.retries =>
                {
                    failures += 1;
                    tracing::debug!(%hash, %error, "a transfer broke off; once more");
                }
                FetchError::Busy { .. } if busy < self.patience.busy_tries => {
                    busy += 1;
                    sleep(self.patience.busy_wait).await;
                }
                FetchError::Unreachable { .. }
                | FetchError::Stream { .. }
                | FetchError::NotFound { .. }
                | FetchError::Busy { .. }
                | FetchError::WrongSize { .. }
                | FetchError::WrongBytes { .. }
                | FetchError::Store(_)
                | FetchError::Internal(_) => return Err(error),
            }
        }
    }

    async fn try_fetch(
        &mut self,
        hash: BlobHash,
        declared: Bytes,
        held: &Arc<AtomicU64>,
        moved: &mut (dyn FnMut() + Send),
    ) -> Result<(), FetchError> {
        let store = self.store.clone();
        let partial = blocking(move || store.resume(hash, declared.0)).await??;
        let mut runs: VecDeque<_> = match &partial {
            Some(partial) => partial.missing(RUN_GROUPS).into(),
            None => all_runs(declared.0),
        };
        let mut partial = match partial {
            Some(partial) if runs.is_empty() => return finish(partial).await,
            partial => partial,
        };
        held.store(partial.as_ref().map_or(0, Partial::held_bytes), Ordering::Relaxed);
        let mut stream = self.open().await?;
        let mut in_flight = VecDeque::new();
        let mut writing: Option<Writing> = None;
        let mut wants_outline = partial.is_none();
        loop {
            self.ask(&mut stream, hash, &mut runs, &mut in_flight, &mut wants_outline).await?;
            let Some((first, count)) = in_flight.pop_front() else { break };
            let outline = self.response(&mut stream, hash, declared).await?;
            let writing = match &mut writing {
                Some(writing) => writing,
                None => {
                    let partial = match partial.take() {
                        Some(partial) => partial,
                        None => self.begin(hash, declared, outline).await?,
                    };
                    writing.insert(Writing::start(partial, held.clone(), self.turn.clone()))
                }
            };
            for group in first..first + count {
                let mut buffer = writing.buffer();
                buffer.resize(group_len(declared.0, group), 0);
                let read = wire::read_exact(&mut stream, &mut buffer, self.patience.stall).await;
                if let Err(source) = read {
                    // What came before is verified and written before anybody tries again.
                    writing.end().await.map_err(|error| self.blame(hash, error))?;
                    return Err(self.broken(source));
                }
                if !writing.push(group, buffer).await {
                    return Err(match writing.end().await {
                        Ok(_) => FetchError::Internal("a transfer ended by itself".to_owned()),
                        Err(error) => self.blame(hash, error),
                    });
                }
                moved();
            }
        }
        if let Some(mut writing) = writing {
            let partial = writing.end().await.map_err(|error| self.blame(hash, error))?;
            finish(partial).await?;
        }
        self.stream = Some(stream);
        Ok(())
    }

    async fn open(&mut self) -> Result<ByteStream, FetchError> {
        match self.stream.take() {
            Some(stream) => Ok(stream),
            None => {
                let opened = (self.opener)(self.peer, self.addresses.clone()).await;
                opened.map_err(|why| FetchError::Unreachable { peer: self.peer, why })
            }
        }
    }

    /// Fills the window with requests.
    async fn ask(
        &mut self,
        stream: &mut ByteStream,
        hash: BlobHash,
        runs: &mut VecDeque<(u64, u64)>,
        in_flight: &mut VecDeque<(u64, u64)>,
        wants_outline: &mut bool,
    ) -> Result<(), FetchError> {
        let mut window: u64 = in_flight.iter().map(|(_, count)| count).sum();
        let mut frames = Vec::new();
        while let Some((first, count)) = runs.front().copied().filter(|(_, n)| window + n <= WINDOW_GROUPS) {
            runs.pop_front();
            let outline = std::mem::take(wants_outline);
            frames.extend(wire::frame(&BlobRequest { hash, outline, first, count, slices: false }));
            window += count;
            in_flight.push_back((first, count));
        }
        if frames.is_empty() {
            return Ok(());
        }
        let stall = self.patience.stall;
        wire::write_all(stream, &frames, stall).await.map_err(|source| self.broken(source))?;
        wire::flush(stream, stall).await.map_err(|source| self.broken(source))
    }

    /// Reads the head of the next answer.
    async fn response(
        &mut self,
        stream: &mut ByteStream,
        hash: BlobHash,
        declared: Bytes,
    ) -> Result<Vec<[u8; 32]>, FetchError> {
        let peer = self.peer;
        let bytes_max = RESPONSE_HEAD_BYTES + 32 * group_count(declared.0) as usize;
        let response = wire::read_frame(stream, bytes_max, self.patience.stall).await;
        match response.map_err(|source| self.broken(source))? {
            Some(BlobResponse::Found { bytes, outline }) if bytes == declared.0 => Ok(outline),
            Some(BlobResponse::Found { bytes, .. }) => {
                Err(FetchError::WrongSize { peer, hash, found: Bytes(bytes), declared })
            }
            Some(BlobResponse::Slices { .. }) => Err(self.broken(StreamError::Unasked)),
            Some(BlobResponse::NotFound) => Err(FetchError::NotFound { peer, hash }),
            Some(BlobResponse::Busy) => Err(FetchError::Busy { peer }),
            None => Err(self.broken(StreamError::Ended)),
        }
    }

    async fn begin(
        &mut self,
        hash: BlobHash,
        declared: Bytes,
        values: Vec<[u8; 32]>,
    ) -> Result<Partial, FetchError> {
        let peer = self.peer;
        let outline = blocking(move || Outline::verify(hash, declared.0, values)).await?;
        let outline = outline.map_err(|source| FetchError::WrongBytes { peer, hash, source })?;
        let store = self.store.clone();
        Ok(blocking(move || store.begin(hash, outline)).await??)
    }

    fn broken(&self, source: StreamError) -> FetchError {
        FetchError::Stream { peer: self.peer, source }
    }

    /// Bytes that fail their check are the peer's doing, all else is ours.
    fn blame(&self, hash: BlobHash, error: FetchError) -> FetchError {
        match error {
            FetchError::Store(BlobStoreError::Blob(source)) => {
                FetchError::WrongBytes { peer: self.peer, hash, source }
            }
            error => error,
        }
    }
}

/// The thread that hashes and writes, as the async side sees it.
struct Writing {
    groups: Option<mpsc::Sender<(u64, Vec<u8>)>>,
    spare: mpsc::Receiver<Vec<u8>>,
    thread: JoinHandle<Result<(Partial, Option<MyTurn>), BlobStoreError>>,
}

impl Writing {
    fn start(mut partial: Partial, held: Arc<AtomicU64>, turn: Option<MyTurn>) -> Self {
        let (groups, mut incoming) = mpsc::channel::<(u64, Vec<u8>)>(HASHING_GROUPS);
        let (used, spare) = mpsc::channel(HASHING_GROUPS);
        let thread = spawn_blocking(move || {
            while let Some((group, bytes)) = incoming.blocking_recv() {
                partial.write(group, &bytes)?;
                held.store(partial.held_bytes(), Ordering::Relaxed);
                // With enough spare buffers this one is let go.
                let _ = used.try_send(bytes);
            }
            // A fetch that was stopped does not wait for this thread, but whoever comes next for the blob does.
            Ok((partial, turn))
        });
        Self { groups: Some(groups), spare, thread }
    }

    /// A buffer for the next group, used before if there is one.
    fn buffer(&mut self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOB_GROUP_BYTES as usize))
    }

    /// Hands a group over; false where the thread has given up.
    async fn push(&self, group: u64, bytes: Vec<u8>) -> bool {
        match &self.groups {
            Some(groups) => groups.send((group, bytes)).await.is_ok(),
            None => false,
        }
    }

    /// Waits until all is written.
    async fn end(&mut self) -> Result<Partial, FetchError> {
        self.groups = None;
        let joined = (&mut self.thread).await;
        let (partial, _turn) = joined.map_err(|error| FetchError::Internal(error.to_string()))??;
        Ok(partial)
    }
}

async fn finish(partial: Partial) -> Result<(), FetchError> {
    Ok(blocking(move || partial.finish()).await??)
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(act).await.map_err(|error| FetchError::Internal(error.to_string()))
}

fn all_runs(bytes: u64) -> VecDeque<(u64, u64)> {
    let groups = group_count(bytes);
    (0..groups).step_by(RUN_GROUPS as usize).map(|first| (first, RUN_GROUPS.min(groups - first))).collect()
}

fn group_len(bytes: u64, group: u64) -> usize {
    bytes.saturating_sub(group * BLOB_GROUP_BYTES).min(BLOB_GROUP_BYTES) as usize
}
