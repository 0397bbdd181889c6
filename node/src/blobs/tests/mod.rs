//! What the tests of blobs share: a node with a store and a service, and pipes between nodes that cut, flip, stall and
//! count.

mod parts;
mod service;
mod store;
mod transfer;

use super::{
    service::Patience,
    wire::{self, StreamError},
    *,
};
use ion_protocol::{
    BlobHash, Bytes, NodeId,
    blob::{BlobRequest, BlobResponse, OutlineBuilder},
    limits::{BLOB_GROUP_BYTES, BLOB_SLICE_BYTES},
};
use ion_scheduler::{
    Input,
    input::{FetchFault, FetchId},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

const GROUP: usize = BLOB_GROUP_BYTES as usize;
/// Room in a pipe between two nodes.
const PIPE_BYTES: usize = 256 * 1024;

/// Random bytes; the seed is in every message of a failing test by way of the size and number given.
fn content(number: u64, bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut content = vec![0; bytes];
    rng.fill(&mut content);
    content
}

/// Nothing here has to stall: this long waits only a test that fails.
fn patience() -> Patience {
    Patience {
        stall: Duration::from_secs(60),
        rest: Duration::ZERO,
        busy_wait: Duration::from_millis(10),
        busy_tries: 3,
        progress: Duration::ZERO,
        alive: Duration::from_millis(20),
        ..Patience::default()
    }
}

/// For tests of what stalls: short enough to wait for, long enough for what does not stall on a busy machine.
fn impatience() -> Patience {
    Patience { stall: Duration::from_millis(1_500), ..patience() }
}

fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn store(dir: &tempfile::TempDir) -> BlobStore {
    BlobStore::open(dir.path(), Bytes(1 << 30)).unwrap()
}

/// What happens to the bytes that come from the peer.
#[derive(Clone, Copy, Debug)]
enum Pipe {
    Whole,
    /// Ends after so many bytes.
    Cut(u64),
    /// The byte at this place is another.
    Flip(u64),
    /// Nothing comes after so many bytes.
    Stall(u64),
}

/// Streams to a peer, each treated as the next entry says; the last one is for all that follow.
#[derive(Clone)]
struct Road {
    pipes: Arc<Mutex<Vec<Pipe>>>,
    opened: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Road {
    fn new(pipes: &[Pipe]) -> Self {
        let pipes = pipes.iter().rev().copied().collect();
        Self { pipes: Arc::new(Mutex::new(pipes)), opened: Arc::default(), received: Arc::default() }
    }

    fn next(&self) -> Pipe {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let mut pipes = self.pipes.lock().unwrap();
        if pipes.len() > 1 { pipes.pop().unwrap() } else { pipes[0] }
    }

    /// Streams that end at `accept`.
    fn opener(&self, accept: impl Fn(DuplexStream) + Send + Sync + Clone + 'static) -> Opener {
        let road = self.clone();
        Arc::new(move |_, _| {
            let (road, accept) = (road.clone(), accept.clone());
            Box::pin(async move {
                let (near, middle) = duplex(PIPE_BYTES);
                let (far_middle, far) = duplex(PIPE_BYTES);
                accept(far);
                tokio::spawn(carry(middle, far_middle, road.next(), road.received.clone()));
                Ok(Box::pin(near) as ByteStream)
            })
        })
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }
}

async fn carry(near: DuplexStream, far: DuplexStream, pipe: Pipe, received: Arc<AtomicU64>) {
    let (mut from_near, mut to_near) = tokio::io::split(near);
    let (mut from_far, mut to_far) = tokio::io::split(far);
    let questions = async {
        let _ = tokio::io::copy(&mut from_near, &mut to_far).await;
    };
    let answers = async {
        let (mut passed, mut buffer) = (0u64, vec![0; 16 * 1024]);
        loop {
            let read = match from_far.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => read as u64,
            };
            let mut bytes = &mut buffer[..read as usize];
            match pipe {
                Pipe::Whole => {}
                Pipe::Cut(at) | Pipe::Stall(at) => {
                    let left = bytes.len().min(at.saturating_sub(passed) as usize);
                    bytes = &mut bytes[..left];
                }
                Pipe::Flip(at) if (passed..passed + read).contains(&at) => bytes[(at - passed) as usize] ^= 1,
                Pipe::Flip(_) => {}
            }
            if to_near.write_all(bytes).await.is_err() {
                return;
            }
            passed += read;
            received.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            match pipe {
                Pipe::Cut(at) if passed >= at => return,
                Pipe::Stall(at) if passed >= at => std::future::pending().await,
                Pipe::Whole | Pipe::Cut(_) | Pipe::Flip(_) | Pipe::Stall(_) => {}
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        _ = answers => {}
    }
}

/// A node that others fetch from.
struct Holder {
    _dir: tempfile::TempDir,
    store: BlobStore,
    blobs: BlobsHandle,
}

impl Holder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let nowhere: Opener = Arc::new(|_, _| Box::pin(async { Err("nobody is there".to_owned()) }));
        let (inputs, _) = mpsc::channel(1);
        let blobs = Blobs::start_with(store.clone(), nowhere, inputs, patience());
        Self { _dir: dir, store, blobs }
    }

    fn accept(&self) -> impl Fn(DuplexStream) + Send + Sync + Clone + 'static {
        let blobs = self.blobs.clone();
        move |stream| blobs.serve(node(1), Box::pin(stream))
    }
}

/// A node that fetches.
struct Fetcher {
    dir: tempfile::TempDir,
    store: BlobStore,
    blobs: BlobsHandle,
    inputs: mpsc::Receiver<Input>,
}

impl Fetcher {
    fn new(opener: Opener) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::in_dir(dir, opener)
    }

    /// One that gives a stalled stream up while a test looks on.
    fn impatient(opener: Opener) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        Self::with(dir, store, opener, impatience())
    }

    fn in_dir(dir: tempfile::TempDir, opener: Opener) -> Self {
        let store = store(&dir);
        Self::with_store(dir, store, opener)
    }

    fn with_store(dir: tempfile::TempDir, store: BlobStore, opener: Opener) -> Self {
        Self::with(dir, store, opener, patience())
    }

    fn with(dir: tempfile::TempDir, store: BlobStore, opener: Opener, patience: Patience) -> Self {
        let (results, inputs) = mpsc::channel(10_000);
        let blobs = Blobs::start_with(store.clone(), opener, results, patience);
        Self { dir, store, blobs, inputs }
    }

    /// Fetches and waits for the answer; what is this side's own fault begins with `here: `.
    async fn fetch(&mut self, blobs: &[(BlobHash, usize)]) -> Result<(), String> {
        if self.ask(1, blobs) == Begun::AllHere {
            return Ok(());
        }
        let (id, result) = self.answer().await;
        assert_eq!(id, FetchId(1));
        result
    }

    fn start(&self, id: u64, blobs: &[(BlobHash, usize)]) {
        assert_eq!(self.ask(id, blobs), Begun::UnderWay);
    }

    fn ask(&self, id: u64, blobs: &[(BlobHash, usize)]) -> Begun {
        let blobs = blobs.iter().map(|(hash, bytes)| (*hash, Bytes(*bytes as u64))).collect();
        self.blobs.fetch(FetchId(id), node(1), Vec::new(), blobs, true).unwrap()
    }

    async fn answer(&mut self) -> (FetchId, Result<(), String>) {
        loop {
            match tokio::time::timeout(Duration::from_secs(60), self.inputs.recv()).await {
                Ok(Some(Input::Fetched { fetch, result })) => return (fetch, result.map_err(whose)),
                Ok(Some(Input::FetchProgress { done, total, .. })) => assert!(done <= total),
                other => panic!("{other:?} instead of an answer"),
            }
        }
    }
}

fn whose(fault: FetchFault) -> String {
    match fault {
        FetchFault::Source(why) => why,
        FetchFault::Here(why) => format!("here: {why}"),
    }
}
