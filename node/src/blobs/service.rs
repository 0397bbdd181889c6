//! The blob service: what the driver asks of blobs, and what peers may.
//!
//! Commands never wait and are carried out in order; fetches run beside each other, a bounded number of them, and a
//! blob that two of them want is brought once. A fetch answers once, when its blobs survive a loss of power, or not at
//! all when it was stopped. Streams of peers are served up to a limit, and refused in so many words beyond it.
//! Tests: `tests/transfer.rs`, `tests/service.rs`.

use super::{
    fetch::{FetchError, Source, blocking},
    parts::Parts,
    places::{Place, Places},
    serve,
    store::{BlobStore, BlobStoreError},
    stream::{ByteStream, Opener},
};
use ion_protocol::{BlobHash, Bytes, NodeId, deal::InlineBlob};
use ion_scheduler::{
    Input,
    input::{FetchFault, FetchId},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex as Turn, OwnedMutexGuard, Semaphore, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Commands that may wait. A keep takes a millisecond or more and holds at most 32 KiB, a fetch is started in less.
/// Deliveries come in bursts, a keep and a fetch each, and one that is refused here is finished work thrown away: a
/// thousand of them at once fit, in 64 MiB at the very most.
const COMMANDS_MAX: usize = 2_048;
/// Fetches that are known at once; each may be of a whole job. All ten thousand jobs the engine has under way may be
/// delivered at once, beside the inputs of two thousand leases; one that waits is a task and a list of hashes.
const FETCHES_MAX: usize = 12_288;
/// Fetches that move bytes at once: a window of buffers each.
const FETCHES_MOVING_MAX: usize = 16;
/// Streams being refused at once; further ones are dropped without a word.
const REFUSALS_MAX: usize = 64;

/// How long to wait for what.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// Without a byte moving, until a stream counts as dead.
    pub(super) stall: Duration,
    /// Without a question, until a stream that is served is closed.
    pub(super) idle: Duration,
    /// Tries after a failure without progress.
    pub(super) retries: u32,
    /// Before asking a busy peer again.
    pub(super) busy_wait: Duration,
    /// Without a question, until a stream that is served makes room for another.
    pub(super) rest: Duration,
    /// How often to ask a busy peer again.
    pub(super) busy_tries: u32,
    /// Between two reports of progress.
    pub(super) progress: Duration,
    /// Between two reports while a fetch waits for this node itself: well within the time after which the engine holds
    /// a fetch that says nothing for dead.
    pub(super) alive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            rest: Duration::from_secs(1),
            retries: 1,
            busy_wait: Duration::from_millis(500),
            busy_tries: 20,
            progress: Duration::from_millis(200),
            alive: Duration::from_secs(2),
        }
    }
}

/// The service has too much to do; nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many blob transfers are under way or waiting; try again")]
pub struct BlobsBusy;

/// What became of a wish for blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They are here, and as durable as was asked: nothing comes back.
    AllHere,
    /// The answer comes back.
    UnderWay,
}

/// Starts the service.
pub struct Blobs;

/// The driver's side of the service; clones share it.
#[derive(Clone)]
pub struct BlobsHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Keep(Vec<InlineBlob>),
    Fetch(Fetch),
}

struct Fetch {
    id: FetchId,
    from: NodeId,
    addresses: Vec<String>,
    blobs: Vec<(BlobHash, Bytes)>,
    durable: bool,
    stop: CancellationToken,
}

struct Shared {
    store: BlobStore,
    opener: Opener,
    inputs: mpsc::Sender<Input>,
    runtime: Handle,
    patience: Patience,
    moving: Semaphore,
    places: Places,
    refusals: Arc<Semaphore>,
    fetches: Mutex<BTreeMap<FetchId, CancellationToken>>,
    turns: Mutex<HashMap<BlobHash, Arc<Turn<()>>>>,
    closing: CancellationToken,
    failed: watch::Sender<Option<String>>,
}

impl Blobs {
    /// Starts the service on this runtime. Results go to `inputs`.
    pub fn start(store: BlobStore, opener: Opener, inputs: mpsc::Sender<Input>) -> BlobsHandle {
        Self::start_with(store, opener, inputs, Patience::default())
    }

    pub(super) fn start_with(
        store: BlobStore,
        opener: Opener,
        inputs: mpsc::Sender<Input>,
        patience: Patience,
    ) -> BlobsHandle {
        let shared = Arc::new(Shared {
            store,
            opener,
            inputs,
            runtime: Handle::current(),
            patience,
            moving: Semaphore::new(FETCHES_MOVING_MAX),
            places: Places::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            fetches: Mutex::default(),
            turns: Mutex::default(),
            closing: CancellationToken::new(),
            failed: watch::channel(None).0,
        });
        let (commands, incoming) = mpsc::channel(COMMANDS_MAX);
        let service = shared.clone();
        shared.watched("blob service", async move { run(service, incoming).await });
        BlobsHandle { shared, commands }
    }
}

impl BlobsHandle {
    /// Puts small blobs into the store, before any fetch that is asked for later looks there. Failing is logged: the
    /// fetch will ask the peer instead.
    pub fn keep(&self, blobs: Vec<InlineBlob>) -> Result<(), BlobsBusy> {
        self.commands.try_send(Command::Keep(blobs)).map_err(|_| BlobsBusy)
    }

    /// Brings blobs here that are not, and makes all of them durable where that is asked. Answered by
    /// [`Input::Fetched`], unless nothing is to be done: then that is the answer.
    pub fn fetch(
        &self,
        id: FetchId,
        from: NodeId,
        addresses: Vec<String>,
        blobs: Vec<(BlobHash, Bytes)>,
        durable: bool,
    ) -> Result<Begun, BlobsBusy> {
        if blobs.iter().all(|(hash, bytes)| self.shared.store.is_ready(hash, *bytes, durable)) {
            return Ok(Begun::AllHere);
        }
        let stop = self.shared.closing.child_token();
        let mut fetches = lock(&self.shared.fetches);
        if fetches.len() >= FETCHES_MAX {
            return Err(BlobsBusy);
        }
        let fetch = Fetch { id, from, addresses, blobs, durable, stop: stop.clone() };
        self.commands.try_send(Command::Fetch(fetch)).map_err(|_| BlobsBusy)?;
        fetches.insert(id, stop);
        Ok(Begun::UnderWay)
    }

    /// A blob of which only parts are wanted, at a peer; `None` where it is here. One that has another size here is none of
    /// that name and size: whoever says so may show it.
    pub fn parts(&self, from: NodeId, addresses: Vec<String>, hash: BlobHash, bytes: Bytes) -> Option<Parts> {
        let Shared { store, opener, patience, .. } = &*self.shared;
        let absent = store.size(&hash) != Some(bytes);
        absent.then(|| Parts::new(opener.clone(), (from, addresses), patience.clone(), (hash, bytes)))
    }

    /// Stops a fetch; it is not answered any more, unless its answer is under way already.
    pub fn stop(&self, id: FetchId) {
        if let Some(stop) = lock(&self.shared.fetches).remove(&id) {
            stop.cancel();
        }
    }

    /// Answers a peer's questions on a stream it opened; refuses where there are too many.
    pub fn serve(&self, peer: NodeId, stream: ByteStream) {
        match self.shared.places.take(peer, self.shared.patience.rest) {
            Some(place) => self.shared.serve(stream, place),
            None => self.shared.refuse(stream),
        }
    }

    /// Waits until a task of the service has panicked, and says how: the node must stop then. Never ends otherwise.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        let why = match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            Err(_) => None,
        };
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Ends all transfers; what was verified stays.
    pub fn shutdown(&self) {
        self.shared.closing.cancel();
    }
}

async fn run(shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>) {
    loop {
        let command = tokio::select! {
            _ = shared.closing.cancelled() => return,
            command = commands.recv() => command,
        };
        match command {
            Some(Command::Keep(blobs)) => shared.keep(blobs).await,
            Some(Command::Fetch(fetch)) => {
                let fetching = shared.clone();
                shared.watched("blob fetch", async move { fetching.run_fetch(fetch).await });
            }
            None => return,
        }
    }
}

impl Shared {
    async fn keep(&self, mut blobs: Vec<InlineBlob>) {
        // What many jobs carry is here after the first, and no thread of its own is needed to see that.
        blobs.retain(|blob| {
            let hash = blob.hash();
            self.store.keep_at_hand(hash, &blob.bytes);
            !self.store.is_ready(&hash, Bytes(blob.bytes.len() as u64), false)
        });
        if blobs.is_empty() {
            return;
        }
        let store = self.store.clone();
        let kept = blocking(move || blobs.iter().try_for_each(|blob| store.put(&blob.bytes).map(|_| ())));
        if let Err(error) = kept.await.and_then(|kept| Ok(kept?)) {
            tracing::warn!(%error, "small blobs were not kept");
        }
    }

    async fn run_fetch(self: Arc<Self>, fetch: Fetch) {
        let (id, stop) = (fetch.id, fetch.stop.clone());
        let result = tokio::select! {
            _ = stop.cancelled() => return,
            result = self.fetch_all(fetch) => result,
        };
        lock(&self.turns).retain(|_, turn| Arc::strong_count(turn) > 1);
        // Stopped in the meantime: nothing comes back for it.
        if lock(&self.fetches).remove(&id).is_none() {
            return;
        }
        let result = result.map_err(FetchFault::from);
        // Fails only when the driver is gone.
        let _ = self.inputs.send(Input::Fetched { fetch: id, result }).await;
    }

    async fn fetch_all(&self, fetch: Fetch) -> Result<(), FetchError> {
        let mut seen = HashSet::new();
        let blobs: Vec<_> = fetch.blobs.into_iter().filter(|(hash, _)| seen.insert(*hash)).collect();
        let _hold = self.store.hold(blobs.iter().map(|(hash, _)| *hash));
        let total = blobs.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(bytes.0));
        let moving = self.alive(fetch.id, 0, total, self.moving.acquire()).await;
        let _moving = moving.map_err(|error| FetchError::Internal(error.to_string()))?;
        let mut source = Source {
            store: self.store.clone(),
            opener: self.opener.clone(),
            peer: fetch.from,
            addresses: fetch.addresses,
            patience: self.patience.clone(),
            stream: None,
            turn: None,
        };
        let held = Arc::new(AtomicU64::new(0));
        let (mut done, mut told) = (0u64, Instant::now());
        for (hash, bytes) in &blobs {
            source.turn = Some(Arc::new(self.alive(fetch.id, done, total, self.turn(*hash)).await));
            if !self.alive(fetch.id, done, total, self.is_held(*hash, *bytes)).await? {
                held.store(0, Ordering::Relaxed);
                let mut moved = || {
                    if told.elapsed() >= self.patience.progress {
                        told = Instant::now();
                        let done = done + held.load(Ordering::Relaxed);
                        // Dropped where the driver is busy: the next one says more.
                        let _ = self.inputs.try_send(Input::FetchProgress { fetch: fetch.id, done, total });
                    }
                };
                source.fetch(*hash, *bytes, &held, &mut moved).await?;
            }
            source.turn = None;
            done = done.saturating_add(bytes.0);
        }
        if !fetch.durable {
            return Ok(());
        }
        let store = self.store.clone();
        let hashes: Vec<_> = blobs.into_iter().map(|(hash, _)| hash).collect();
        let durable = blocking(move || store.make_durable(&hashes));
        Ok(self.alive(fetch.id, done, total, durable).await??)
    }

    /// Waits for this node itself, and says now and then that the fetch is alive though nothing moves: the peer is not
    /// to be blamed, nor the fetch given up, for what takes long here.
    async fn alive<T>(&self, fetch: FetchId, done: u64, total: u64, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                value = &mut wait => return value,
                () = sleep(self.patience.alive) => {
                    // Dropped where the driver is busy: the next one says the same.
                    let _ = self.inputs.try_send(Input::FetchProgress { fetch, done, total });
                }
            }
        }
    }

    /// Whether the blob is here and whole; one that decayed is gone afterwards.
    async fn is_held(&self, hash: BlobHash, declared: Bytes) -> Result<bool, FetchError> {
        let store = self.store.clone();
        // Looked at before it is measured: a file that was cut is no blob of another size.
        match blocking(move || store.path(&hash)).await? {
            Ok(_) => {}
            Err(BlobStoreError::NotHeld(_) | BlobStoreError::Decayed(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        match self.store.size(&hash) {
            Some(found) if found != declared => {
                Err(BlobStoreError::WrongSize { hash, found, declared }.into())
            }
            found => Ok(found.is_some()),
        }
    }

    /// Waits until nobody else brings this blob.
    async fn turn(&self, hash: BlobHash) -> OwnedMutexGuard<()> {
        let turn = lock(&self.turns).entry(hash).or_default().clone();
        turn.lock_owned().await
    }

    fn serve(self: &Arc<Self>, mut stream: ByteStream, place: Place) {
        let shared = self.clone();
        self.watched("blob stream", async move {
            // Named whole: a mention of one field would move only that, and give the place back now.
            let place = place;
            let served = tokio::select! {
                _ = shared.closing.cancelled() => Ok(()),
                () = place.lost() => Ok(()),
                served = serve::serve(&shared.store, &mut stream, &place, &shared.patience) => served,
            };
            if let Err(error) = served {
                tracing::debug!(peer = %place.peer.short(), %error, "a blob stream ended");
            }
        });
    }

    fn refuse(self: &Arc<Self>, mut stream: ByteStream) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        let shared = self.clone();
        self.watched("blob refusal", async move {
            // The peer may be gone; it was to be sent away anyhow.
            let _ = serve::refuse(&mut stream, &shared.patience).await;
            drop(permit);
        });
    }

    /// Runs a task whose panic is our bug and stops the node.
    fn watched(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shared, task) = (self.clone(), self.runtime.spawn(task));
        self.runtime.spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                shared.failed.send_replace(Some(format!("the task `{name}` panicked: {error}")));
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the maps whole, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
